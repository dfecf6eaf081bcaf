//! The roles of the application, and the shadow roles that stand for them.

use super::administrator::Administrator;
use super::catalog::{Relation, numbers};
use super::failure::Failure;
use pgwarden_shadow::policy::{Shadow, identifier, literal};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The name of the first shadow role; others have a number behind it.
pub(crate) const SHADOW: &str = "pgwarden_shadow";

/// A role that the application acts as.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Acting {
    /// Its name.
    pub(crate) name: String,
    /// What lets it past every policy.
    pub(crate) attributes: Vec<String>,
    /// The roles whose rights it has, itself included.
    pub(crate) acts: BTreeSet<String>,
}

impl Acting {
    /// What lets it past every policy, in words.
    pub(crate) fn bypasses(&self) -> Option<String> {
        (!self.attributes.is_empty()).then(|| {
            format!(
                "role \"{}\" is {}: no policy binds it, and promoting changes nothing for it",
                self.name,
                self.attributes.join(" and ")
            )
        })
    }
}

/// How a shadow role comes to the rights of the role that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// As a member: later rights follow by themselves.
    Member,
    /// As copies, where a member would count as the tables' owner, whom no policy binds.
    Copied,
}

impl Rights {
    fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Copied => "copied",
        }
    }
}

/// A shadow role, there or not yet.
#[derive(Debug, Clone)]
pub(crate) struct ShadowRole {
    /// How the policies see it.
    pub(crate) shadow: Shadow,
    /// Whom it stands for.
    pub(crate) acting: Acting,
    /// How it comes to its rights.
    pub(crate) rights: Rights,
    /// Whether it is there.
    exists: bool,
}

/// A role named like a shadow role.
#[derive(Debug, Deserialize)]
struct Found {
    name: String,
    comment: Option<String>,
    attributes: Vec<String>,
    member_of: Vec<String>,
    inheritors: Vec<String>,
}

/// The roles that the application acts as: those named, or whoever has rights on the tables or is named in a policy.
///
/// # Errors
/// [`Failure`] when one does not exist, or there is none.
pub(crate) async fn acting(
    session: &mut Administrator,
    named: &[String],
    (relations, listed): (&[Relation], &BTreeSet<String>),
) -> Result<Vec<Acting>, Failure> {
    let names: BTreeSet<String> = if named.is_empty() {
        let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
        let query = format!(
            "SELECT DISTINCT r.rolname FROM pg_class c CROSS JOIN LATERAL \
             aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a JOIN pg_roles r ON r.oid = a.grantee \
             WHERE c.oid IN ({}) AND NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname !~ '^(pg_|pgwarden)' \
             AND (r.oid <> c.relowner OR r.rolcanlogin)",
            numbers(&oids)
        );
        let holders = session.texts(&query);
        holders.await?.into_iter().chain(listed.iter().cloned()).collect()
    } else {
        named.iter().cloned().collect()
    };
    let list: Vec<String> = names.iter().map(|name| literal(name)).collect();
    if list.is_empty() {
        return Err(Failure::caller(
            "nobody has rights on the tables",
            "Name the application's role with --app.",
        ));
    }
    let query = format!(
        "SELECT r.rolname AS name, array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, \
         CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL) AS attributes, \
         (SELECT json_agg(o.rolname) FROM pg_roles o WHERE pg_has_role(r.oid, o.oid, 'USAGE')) AS acts \
         FROM pg_roles r WHERE r.rolname IN ({}) ORDER BY r.rolname",
        list.join(", ")
    );
    let found: Vec<Acting> = session.objects(&query).await?;
    if let Some(missing) = names.iter().find(|name| !found.iter().any(|role| role.name == **name)) {
        let hint = "Make it, or name another one with --app.";
        return Err(Failure::caller(format!("role \"{missing}\" does not exist"), hint));
    }
    Ok(found)
}

/// Finds the shadow role of each, or a name for it. Whatever would make it answer wrongly is refused.
///
/// # Errors
/// [`Failure::Refused`] when a shadow role has what it must not have.
pub(crate) async fn shadows(
    session: &mut Administrator,
    acting: Vec<Acting>,
    relations: &[Relation],
) -> Result<Vec<ShadowRole>, Failure> {
    let mut taken = BTreeSet::new();
    let mut roles = Vec::new();
    let owners = owners(session, relations).await?;
    let found = found(session).await?;
    for acting in acting {
        let rights = if owners.iter().any(|owner| acting.acts.contains(owner)) && acting.attributes.is_empty()
        {
            Rights::Copied
        } else {
            Rights::Member
        };
        let comment = comment(&acting.name, rights);
        let its = |role: &&Found| role.comment.as_deref() == Some(&comment);
        let unclaimed = |role: &&Found| role.name == SHADOW && role.comment.is_none();
        let existing = found
            .iter()
            .find(its)
            .or_else(|| found.iter().find(unclaimed).filter(|_| !taken.contains(SHADOW)));
        let name = match existing {
            Some(role) => {
                is_sane(role, &acting, rights)?;
                role.name.clone()
            }
            None => free(&found, &taken),
        };
        taken.insert(name.clone());
        let mut own = if rights == Rights::Member { acting.acts.clone() } else { BTreeSet::new() };
        own.insert(name.clone());
        let prefix = name.replacen(SHADOW, "pgwarden", 1);
        let shadow = Shadow { role: name, prefix, acting: acting.acts.clone(), own };
        roles.push(ShadowRole { shadow, acting, rights, exists: existing.is_some() });
    }
    Ok(roles)
}

/// What marks a role as the shadow of another, in every database of the server.
fn comment(acting: &str, rights: Rights) -> String {
    format!("pgwarden: stands for {}, {}", identifier(acting), rights.word())
}

fn free(found: &[Found], taken: &BTreeSet<String>) -> String {
    let names =
        std::iter::once(SHADOW.to_owned()).chain((2..).map(|number: u32| format!("{SHADOW}_{number}")));
    let is_free = |name: &String| !taken.contains(name) && !found.iter().any(|role| role.name == *name);
    names.into_iter().find(is_free).unwrap_or_default()
}

/// Whoever owns a table with policies, or one that will have some.
async fn owners(session: &mut Administrator, relations: &[Relation]) -> Result<BTreeSet<String>, Failure> {
    let protected = session
        .texts("SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relrowsecurity AND relkind IN ('r', 'p')");
    let mut owners: BTreeSet<String> = protected.await?.into_iter().collect();
    owners.extend(relations.iter().map(|relation| relation.owner.clone()));
    Ok(owners)
}

async fn found(session: &mut Administrator) -> Result<Vec<Found>, Failure> {
    let query = "SELECT s.rolname AS name, shobj_description(s.oid, 'pg_authid') AS comment, \
         array_remove(ARRAY[CASE WHEN s.rolsuper THEN 'SUPERUSER' END, CASE WHEN s.rolbypassrls THEN 'BYPASSRLS' END, \
         CASE WHEN s.rolcanlogin THEN 'LOGIN' END], NULL) AS attributes, \
         (SELECT coalesce(json_agg(o.rolname), '[]') FROM pg_auth_members m JOIN pg_roles o ON o.oid = m.roleid \
         WHERE m.member = s.oid) AS member_of, \
         (SELECT coalesce(json_agg(i.rolname), '[]') FROM pg_roles i WHERE i.oid <> s.oid AND NOT i.rolsuper \
         AND pg_has_role(i.oid, s.oid, 'USAGE')) AS inheritors \
         FROM pg_roles s WHERE s.rolname ~ '^pgwarden_shadow(_[0-9]+)?$' ORDER BY length(s.rolname), s.rolname";
    session.objects(query).await
}

fn is_sane(role: &Found, acting: &Acting, rights: Rights) -> Result<(), Failure> {
    let name = &role.name;
    if !role.attributes.is_empty() {
        let words: Vec<String> = role.attributes.iter().map(|word| format!("NO{word}")).collect();
        return Err(Failure::refused(
            format!("shadow role \"{name}\" is {}", role.attributes.join(" and ")),
            "Policies would not bind it as they will bind the application, or somebody could log in as it.",
            format!("ALTER ROLE {} {}", identifier(name), words.join(" ")),
        ));
    }
    let allowed = |group: &&String| rights == Rights::Member && **group == acting.name;
    if let Some(group) = role.member_of.iter().find(|group| !allowed(group)) {
        return Err(Failure::refused(
            format!("shadow role \"{name}\" is a member of \"{group}\""),
            format!("It stands for \"{}\", and would have other rights and other policies.", acting.name),
            format!("REVOKE {} FROM {}", identifier(group), identifier(name)),
        ));
    }
    nobody_inherits(role)
}

fn nobody_inherits(role: &Found) -> Result<(), Failure> {
    let Some(member) = role.inheritors.first() else { return Ok(()) };
    let (name, member) = (&role.name, identifier(member));
    Err(Failure::refused(
        format!("role {member} inherits shadow role \"{name}\""),
        format!(
            "What is staged would be in force for {member}. All who inherit it: {}.",
            role.inheritors.join(", ")
        ),
        format!(
            "REVOKE {0} FROM {member}; the observer alone may be a member, and without inheriting (ALTER ROLE … \
             NOINHERIT; from PostgreSQL 16 on GRANT {0} TO … WITH INHERIT FALSE, SET TRUE)",
            identifier(name)
        ),
    ))
}

/// Looks again, once the roles are there: some servers make whoever creates a role a member of it.
///
/// # Errors
/// [`Failure::Refused`] when anybody inherits a shadow role.
pub(crate) async fn verify(session: &mut Administrator) -> Result<(), Failure> {
    found(session).await?.iter().try_for_each(nobody_inherits)
}

/// Who inherits a shadow role, and so is bound by what is staged: nobody may.
///
/// # Errors
/// As [`Administrator::read`].
pub(crate) async fn inherited(session: &mut Administrator) -> Result<Vec<String>, Failure> {
    let found = found(session).await?;
    Ok(found.iter().filter_map(|role| nobody_inherits(role).err()).map(|failure| failure.summary()).collect())
}

/// The statements that make the shadow roles, and give them their rights.
///
/// # Errors
/// As [`Administrator::read`].
pub(crate) async fn make(session: &mut Administrator, roles: &[ShadowRole]) -> Result<Vec<String>, Failure> {
    let mut statements = Vec::new();
    let known = if session.text("SELECT to_regclass('pgwarden.shadow_role')").await?.is_empty() {
        Vec::new()
    } else {
        session.texts("SELECT role FROM pgwarden.shadow_role").await?
    };
    for role in roles {
        let (name, acting) = (&role.shadow.role, &role.acting.name);
        let quoted = identifier(name);
        if !role.exists {
            if session.version >= 160_000 {
                statements.push("SET LOCAL createrole_self_grant = ''".to_owned());
            }
            statements.push(format!(
                "CREATE ROLE {quoted} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION"
            ));
        }
        if !role.exists || !known.contains(name) {
            statements
                .push(format!("COMMENT ON ROLE {quoted} IS {}", literal(&comment(acting, role.rights))));
            statements.push(format!(
                "INSERT INTO pgwarden.shadow_role (role, acts_as, rights) VALUES ({0}, {1}, {2}) \
                 ON CONFLICT (acts_as) DO UPDATE SET role = {0}, rights = {2}",
                literal(name),
                literal(acting),
                literal(role.rights.word())
            ));
        }
        match role.rights {
            Rights::Member if role_is_member(session, name, acting).await? => (),
            Rights::Member if session.version >= 160_000 => statements
                .push(format!("GRANT {} TO {quoted} WITH INHERIT TRUE, SET FALSE", identifier(acting))),
            Rights::Member => statements.push(format!("GRANT {} TO {quoted}", identifier(acting))),
            Rights::Copied => statements.extend(copies(session, name, acting).await?),
        }
    }
    Ok(statements)
}

async fn role_is_member(session: &mut Administrator, name: &str, group: &str) -> Result<bool, Failure> {
    let query = format!(
        "SELECT 1 FROM pg_auth_members m JOIN pg_roles s ON s.oid = m.member JOIN pg_roles g ON g.oid = m.roleid \
         WHERE s.rolname = {} AND g.rolname = {}",
        literal(name),
        literal(group)
    );
    Ok(!session.text(&query).await?.is_empty())
}

/// The grants that give `name` what `acting` may do to rows, and with functions and sequences, that it has not yet.
async fn copies(session: &mut Administrator, name: &str, acting: &str) -> Result<Vec<String>, Failure> {
    let (to, from) = (literal(name), literal(acting));
    let has = |kind: &str, oid: &str, right: &str| {
        format!(
            "has_{kind}_privilege({from}, {oid}, {right}) AND NOT coalesce((SELECT has_{kind}_privilege(s.oid, {oid}, {right}) \
             FROM pg_roles s WHERE s.rolname = {to}), false)"
        )
    };
    let user = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
    let query = format!(
        "SELECT format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, {to}) FROM pg_namespace n WHERE {user} AND {} \
         UNION ALL SELECT format('GRANT %s ON %s %I.%I TO %I', x.privilege, \
         CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname, {to}) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN \
         unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'USAGE']) x(privilege) WHERE {user} \
         AND CASE WHEN c.relkind = 'S' THEN x.privilege IN ('SELECT', 'UPDATE', 'USAGE') AND {} \
         WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f') AND x.privilege <> 'USAGE' THEN {} ELSE false END \
         UNION ALL SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', p.oid::regprocedure, {to}) \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {user} AND p.prokind = 'f' \
         AND p.proacl IS NOT NULL AND {}",
        has("schema", "n.oid", "'USAGE'"),
        has("sequence", "c.oid", "x.privilege"),
        has("table", "c.oid", "x.privilege"),
        has("function", "p.oid", "'EXECUTE'"),
    );
    session.texts(&query).await
}

/// The statements that let the observer become the shadow roles, and the roles for which they stand.
///
/// # Errors
/// [`Failure::Refused`] when that would put something in force for it.
pub(crate) async fn admit(
    session: &mut Administrator,
    observer: &str,
    roles: &[ShadowRole],
) -> Result<Vec<String>, Failure> {
    let query = format!("SELECT rolsuper, rolinherit FROM pg_roles WHERE rolname = {}", literal(observer));
    let attributes = session.read(&query);
    let attributes = attributes.await?;
    let Some([superuser, inherits]) = attributes.first().map(Vec::as_slice) else {
        let hint = "CREATE ROLE … LOGIN NOINHERIT PASSWORD '…'";
        return Err(Failure::caller(format!("role \"{observer}\" does not exist"), hint));
    };
    let quoted = identifier(observer);
    let mut statements = vec![
        format!("GRANT USAGE ON SCHEMA pgwarden TO {quoted}"),
        // By name: the keys of sealed contexts are in this schema as well.
        format!("GRANT SELECT ON pgwarden.journal, pgwarden.staged, pgwarden.shadow_role TO {quoted}"),
    ];
    if superuser.as_deref() == Some("t") {
        return Ok(statements);
    }
    if let Some(role) = roles.iter().find(|role| role.acting.name == observer) {
        return Err(Failure::refused(
            format!("role {quoted} is the application's"),
            format!("What is staged must never bind it; as a member of \"{}\" it could.", role.shadow.role),
            "Give the observer a login of its own: CREATE ROLE … LOGIN NOINHERIT PASSWORD '…'",
        ));
    }
    if session.version < 160_000 && inherits.as_deref() == Some("t") {
        return Err(Failure::refused(
            format!("role {quoted} inherits what it is a member of"),
            "What is staged would be in force for it, and it would have the application's rights at all times.",
            format!("ALTER ROLE {quoted} NOINHERIT"),
        ));
    }
    let form = if session.version >= 160_000 { " WITH INHERIT FALSE, SET TRUE" } else { "" };
    for role in roles {
        for group in [&role.shadow.role, &role.acting.name] {
            if !role_is_member(session, observer, group).await? {
                statements.push(format!("GRANT {} TO {quoted}{form}", identifier(group)));
            }
        }
    }
    Ok(statements)
}
