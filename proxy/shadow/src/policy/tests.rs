use super::*;
use std::collections::BTreeSet;

/// The pending policies of the example platform.
const PLATFORM: &str = include_str!("../../../../deploy/examples/platform/04-restrictive-policies.sql");

fn read(text: &str) -> Migration {
    migration(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn only(migration: &Migration) -> &Change {
    migration.tables.values().next().expect("one table")
}

fn policy(
    shape: Shape,
    command: PolicyCommand,
    roles: &[&str],
    using: Option<&str>,
    check: Option<&str>,
) -> Policy {
    Policy {
        name: format!("{}_{}", command.word(), using.or(check).unwrap_or_default()),
        shape,
        command,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        using: using.map(str::to_owned),
        check: check.map(str::to_owned),
        search_path: None,
        comment: None,
    }
}

fn shadow(acting: &[&str], own: &[&str]) -> Shadow {
    let set = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect::<BTreeSet<_>>();
    Shadow {
        role: "pgwarden_shadow".to_owned(),
        prefix: "pgwarden".to_owned(),
        acting: set(acting),
        own: set(own),
    }
}

fn on(policies: Vec<Policy>) -> Table {
    Table { enabled: Switch::On, forced: Switch::Off, policies }
}

/// Command, USING and CHECK of each restrictive policy.
fn said(policies: &[Policy]) -> Vec<(&str, Option<&str>, Option<&str>)> {
    let restrictive = policies.iter().filter(|policy| policy.shape == Shape::Restrictive);
    restrictive.map(|one| (one.command.word(), one.using.as_deref(), one.check.as_deref())).collect()
}

#[test]
fn the_platforms_migration_is_read_as_a_whole() {
    let migration = read(PLATFORM);
    let created: usize = migration.tables.values().map(|change| change.created.len()).sum();
    assert!(created >= 33, "{created} policies");
    assert_eq!(migration.helpers.len(), 5, "four functions and a grant");
    assert!(migration.helpers.iter().all(|helper| helper.role.as_deref() == Some("platform_owner")));
    assert!(migration.helpers[0].sql.starts_with("CREATE OR REPLACE FUNCTION platform.current_user_id()"));
    let drops: Vec<_> = migration.unread.iter().filter(|one| one.weight == Weight::Drops).collect();
    assert_eq!(drops.len(), 1, "{:?}", migration.unread);
    assert!(PLATFORM.lines().nth(drops[0].line - 1).expect("a line").starts_with("DO $$"));
    assert!(migration.unread.iter().all(|one| one.weight != Weight::Policies), "{:?}", migration.unread);
}

#[test]
fn what_a_policy_says_is_kept() {
    let migration = read(
        "SET search_path = app, public;
         CREATE POLICY \"Own rows\" ON items AS RESTRICTIVE FOR UPDATE TO anon, \"Other\"
         USING (org_id = (SELECT f('a''b', 1))) WITH CHECK (note IS NULL OR note ~ '^x')",
    );
    let (table, change) = migration.tables.iter().next().expect("a table");
    assert_eq!(table.search_path.as_deref(), Some("\"app\", \"public\""));
    let [policy] = change.created.as_slice() else { panic!("{change:?}") };
    assert_eq!(policy.name, "Own rows");
    assert_eq!((policy.shape, policy.command), (Shape::Restrictive, PolicyCommand::Update));
    assert_eq!(policy.roles, ["anon", "Other"]);
    assert_eq!(policy.using.as_deref(), Some("org_id = (SELECT f('a''b', 1))"));
    assert_eq!(policy.search_path.as_deref(), Some("\"app\", \"public\""));
    assert_eq!(
        policy.create("x")[1],
        "CREATE POLICY \"Own rows\" ON x AS RESTRICTIVE FOR UPDATE TO \"anon\", \"Other\" \
         USING (org_id = (SELECT f('a''b', 1))) WITH CHECK (note IS NULL OR note ~ '^x')"
    );
}

#[test]
fn a_policy_dropped_and_made_again_is_another_one() {
    let text = "DROP POLICY IF EXISTS a ON s.t; CREATE POLICY a ON s.t USING (true); ALTER TABLE s.t FORCE ROW LEVEL SECURITY;
                CREATE POLICY b ON s.t USING (true); DROP POLICY b ON s.t";
    let migration = read(text);
    let change = only(&migration);
    assert_eq!(change.dropped, ["a", "b"]);
    assert_eq!(change.created.len(), 1);
    assert_eq!(change.force, Some(Switch::On));
}

#[test]
fn what_cannot_be_staged_is_named_with_its_line() {
    let text = "\n-- comment\nALTER POLICY p ON t USING (false);\nCREATE POLICY q ON t TO CURRENT_USER;\nALTER TABLE t ADD c int;
                ALTER TABLE t DISABLE ROW LEVEL SECURITY; DO $$ BEGIN EXECUTE 'CREATE  POLICY x ON t'; END $$";
    let unread = read(text).unread;
    let lines: Vec<(usize, Weight)> = unread.iter().map(|one| (one.line, one.weight)).collect();
    use Weight::{Aside, Policies};
    assert_eq!(lines, [(3, Policies), (4, Policies), (5, Aside), (6, Policies), (6, Policies)], "{unread:?}");
}

#[test]
fn a_file_that_is_no_sql_is_refused() {
    assert!(matches!(migration("\\set x 1"), Err(MigrationError::Syntax(_))));
    assert!(matches!(migration(&" ".repeat(5_000_000)), Err(MigrationError::TooLong(_))));
}

#[test]
fn permissive_policies_become_one_restrictive_one_for_each_command() {
    use PolicyCommand::{All, Insert, Select, Update};
    use Shape::Permissive;
    let change = Change {
        created: vec![
            policy(Permissive, All, &[], Some("a"), None),
            policy(Permissive, Select, &[], Some("b"), None),
            policy(Permissive, Insert, &[], None, Some("c")),
            policy(Permissive, Update, &[], Some("d"), Some("e")),
        ],
        ..Change::default()
    };
    let staged = staged(&on(Vec::new()), &change, &shadow(&["app"], &["app"])).expect("exact");
    let expected = [
        ("select", Some("(a) OR (b)"), None),
        ("insert", None, Some("(a) OR (c)")),
        ("update", Some("(a) OR (d)"), Some("(a) OR (e)")),
        ("delete", Some("a"), None),
    ];
    assert_eq!(said(&staged), expected);
    assert!(staged.iter().all(|policy| policy.roles == ["pgwarden_shadow"]));
}

#[test]
fn a_command_without_a_policy_becomes_false() {
    let change = Change {
        created: vec![policy(Shape::Permissive, PolicyCommand::Select, &[], Some("a"), None)],
        ..Change::default()
    };
    let staged = staged(&on(Vec::new()), &change, &shadow(&["app"], &[])).expect("exact");
    let no = Some("false");
    let expected =
        [("select", Some("a"), None), ("insert", None, no), ("update", no, no), ("delete", no, None)];
    assert_eq!(said(&staged), expected);
}

#[test]
fn each_role_has_the_policies_of_its_own_list() {
    let change = Change {
        created: vec![
            policy(Shape::Permissive, PolicyCommand::Select, &["anon"], Some("published"), None),
            policy(Shape::Permissive, PolicyCommand::Select, &["authenticated"], Some("owned"), None),
        ],
        ..Change::default()
    };
    for (role, expected) in [("anon", "published"), ("authenticated", "owned"), ("other", "false")] {
        let staged = staged(&on(Vec::new()), &change, &shadow(&[role], &[role])).expect("exact");
        assert_eq!(said(&staged)[0], ("select", Some(expected), None));
    }
}

#[test]
fn kept_policies_go_on_permitting_and_dropped_ones_do_not() {
    let keep = policy(Shape::Permissive, PolicyCommand::All, &["app"], Some("kept"), None);
    let drop = policy(Shape::Permissive, PolicyCommand::All, &[], Some("dropped"), None);
    let change = Change {
        dropped: vec![drop.name.clone()],
        created: vec![policy(Shape::Permissive, PolicyCommand::All, &[], Some("new"), None)],
        force: None,
    };
    let staged = staged(&on(vec![keep, drop]), &change, &shadow(&["app"], &[])).expect("exact");
    assert_eq!(said(&staged)[0], ("select", Some("(kept) OR (new)"), None));
    assert_eq!((staged[0].shape, staged[0].using.as_deref()), (Shape::Permissive, Some("true")));
}

#[test]
fn restrictive_policies_stay_as_they_are_and_one_that_goes_is_not_staged() {
    let here = policy(Shape::Restrictive, PolicyCommand::All, &[], Some("here"), None);
    let elsewhere = policy(Shape::Restrictive, PolicyCommand::All, &["app"], Some("elsewhere"), None);
    let today = on(vec![here.clone(), elsewhere.clone()]);
    let copied = staged(&today, &Change::default(), &shadow(&["app"], &[])).expect("exact");
    assert!(
        said(&copied).contains(&("all", Some("elsewhere"), None)),
        "it does not bind the shadow role today"
    );
    assert!(!said(&copied).contains(&("all", Some("here"), None)), "it does");
    let goes = Change { dropped: vec![here.name.clone()], ..Change::default() };
    let refused = staged(&today, &goes, &shadow(&["app"], &[]));
    assert_eq!(refused, Err(NotStaged::RestrictiveGoes(here.name.clone())));
    let off = Table { enabled: Switch::Off, ..today };
    assert_eq!(
        staged(&off, &Change::default(), &shadow(&["app"], &[])),
        Err(NotStaged::RestrictiveSleeps(here.name))
    );
}

#[test]
fn an_expression_that_asks_for_the_role_is_refused() {
    for expression in [
        "current_user = 'app'",
        "owner = session_user",
        "x IN (SELECT y FROM z WHERE u = CURRENT_ROLE)",
        "user = a",
        "pg_has_role(a, 'MEMBER')",
        "pg_catalog.has_table_privilege('t', 'SELECT')",
        "row_security_active('t')",
        "current_setting('role') = 'x'",
    ] {
        let created = vec![policy(Shape::Permissive, PolicyCommand::All, &[], Some(expression), None)];
        let change = Change { created, ..Change::default() };
        let refused = staged(&on(Vec::new()), &change, &shadow(&["app"], &[]));
        assert!(matches!(refused, Err(NotStaged::AsksRole { .. })), "{expression}: {refused:?}");
    }
    let asked = asked("a = (SELECT s.f(current_setting('app.role')) FROM u)").expect("an expression");
    assert_eq!(asked.role, None);
    assert!(asked.functions.contains(&Called { schema: Some("s".to_owned()), name: "f".to_owned() }));
    assert_eq!(asked.relations[0].name, "u");
}

#[test]
fn expressions_for_different_search_paths_are_not_joined() {
    let path = |name: &str, path: &str| Policy {
        search_path: Some(path.to_owned()),
        ..policy(Shape::Permissive, PolicyCommand::All, &[], Some(name), None)
    };
    let change = Change { created: vec![path("a", "x"), path("b", "y")], ..Change::default() };
    assert!(matches!(staged(&on(Vec::new()), &change, &shadow(&["app"], &[])), Err(NotStaged::Paths(..))));
}

#[test]
fn the_standard_policies_of_a_tenant_column() {
    let mut standard = Standard {
        column: "org_id".to_owned(),
        kind: "uuid".to_owned(),
        setting: "app.current_org_id".to_owned(),
        globals: Globals::default(),
    };
    let own = "\"org_id\" = (SELECT NULLIF(pg_catalog.current_setting('app.current_org_id', true), ''::pg_catalog.text)::uuid)";
    let change = isolation(&standard, &on(Vec::new()));
    assert_eq!(said(&change.created), [("all", Some(own), Some(own))]);
    assert!(
        change.created.iter().any(|policy| policy.shape == Shape::Permissive),
        "else nothing is permitted"
    );
    standard.globals = Globals { tenants: vec!["g".to_owned()], null: NullTenant::Global };
    let open = policy(Shape::Permissive, PolicyCommand::All, &[], Some("true"), None);
    let change = isolation(&standard, &on(vec![open]));
    let readable = format!("{own} OR \"org_id\" IN ('g'::uuid) OR \"org_id\" IS NULL");
    let rules = said(&change.created);
    assert_eq!(rules[0], ("select", Some(readable.as_str()), None));
    assert_eq!(rules[1], ("insert", None, Some(own)), "what is everybody's is nobody's to write");
    assert_eq!(change.created.len(), 4, "the permissive policy is there already");
}

#[test]
fn the_words_of_a_body_are_told_from_its_comments_and_texts() {
    let body = "BEGIN -- pg_has_role()\n PERFORM app.\"Member\"(x, 'session_user') FROM app.users; END";
    let words = words(body).expect("words");
    let member = Word { schema: Some("app".to_owned()), name: "Member".to_owned(), used: Used::Call };
    assert!(words.contains(&member), "{words:?}");
    assert_eq!(role_in(&words, Switch::Off), None);
    let asks = super::words("SELECT 1 WHERE session_user = current_user").expect("words");
    assert_eq!(role_in(&asks, Switch::Off), Some("session_user"));
    assert_eq!(role_in(&asks, Switch::On), Some("session_user"));
    let owner = super::words("SELECT current_user").expect("words");
    assert_eq!(role_in(&owner, Switch::On), None);
}
