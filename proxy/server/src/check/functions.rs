//! Functions that can change the context, and those that run with more rights than their caller's.

use super::ask::{Asked, Row};
use super::report::{Finding, Severity};
use crate::upstream::UpstreamError;
use pgwarden_tenant::{Offence, Protected};

/// Those of the application, what runs with its owner's rights first: signature, name, and what is read of them.
const FUNCTIONS: &str = "SELECT p.oid::regprocedure::text, n.nspname || '.' || p.proname, p.prosecdef, \
     p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype), \
     has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE'), l.lanname, p.prosrc, \
     pg_get_function_sqlbody(p.oid), array_to_string(p.proconfig, E'\\n'), \
     CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, quote_ident(n.nspname) \
     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
     WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND p.prokind <> 'a' \
     AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') \
     ORDER BY p.prosecdef DESC, 1";

/// A function as the server describes it.
struct Function {
    signature: String,
    name: String,
    runs_as: RunsAs,
    call: Call,
    language: String,
    source: String,
    body: String,
    settings: String,
    /// FUNCTION or PROCEDURE.
    word: String,
    schema: String,
}

/// Whose rights it has.
#[derive(PartialEq, Eq)]
enum RunsAs {
    Owner,
    Caller,
}

/// Whether the login can call it.
#[derive(PartialEq, Eq)]
enum Call {
    Possible,
    /// It is a trigger's, or not granted.
    Impossible,
}

/// Looks at every function of the application.
///
/// # Errors
/// As [`Asked::rows`].
pub(super) async fn look(asked: &mut Asked, protected: &Protected) -> Result<Vec<Finding>, UpstreamError> {
    let functions: Vec<Function> = asked.rows(FUNCTIONS).await?.into_iter().map(Function::from_row).collect();
    let changes = functions.iter().filter_map(|function| function.changes(protected));
    let paths = functions.iter().filter_map(Function::path);
    Ok(changes.chain(paths).collect())
}

impl Function {
    fn from_row(row: Row) -> Self {
        let mut values = row.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let (signature, name, definer, trigger, granted) = (next(), next(), next(), next(), next());
        Self {
            signature,
            name,
            runs_as: if definer == "t" { RunsAs::Owner } else { RunsAs::Caller },
            call: if trigger == "f" && granted == "t" { Call::Possible } else { Call::Impossible },
            language: next(),
            source: next(),
            body: next(),
            settings: next(),
            word: next(),
            schema: next(),
        }
    }

    /// What the function does to the context.
    fn changes(&self, protected: &Protected) -> Option<Finding> {
        let set = self.settings.lines().filter_map(|line| line.split_once('='));
        let clause = set.filter_map(|(name, _)| protected.offence_for(name)).next();
        let found = clause
            .or_else(|| protected.finding_in_body(&self.language, self.source.as_bytes()))
            .or_else(|| protected.finding_in_body("sql", self.body.as_bytes()))?;
        let what = match found {
            Offence::RoleTouched => "changes the role or the session authorization",
            Offence::CodeUnread if !matches!(self.language.as_str(), "sql" | "plpgsql") => {
                return self.unread().map(|message| self.finding(Severity::Warning, message));
            }
            Offence::CodeUnread => "runs SQL that is put together when it runs",
            Offence::FunctionCalled => "calls a function of guard.functions",
            _ => "changes a variable that pgwarden sets",
        };
        let rights = if self.runs_as == RunsAs::Owner { ", with its owner's rights" } else { "" };
        let (severity, advice) = match (found, &self.call) {
            _ if protected.forbids(&self.name) => (Severity::Note, "guard.functions has it"),
            (_, Call::Impossible) => (Severity::Note, "the login cannot call it"),
            (Offence::CodeUnread, Call::Possible) => {
                (Severity::Warning, "if a caller decides about that SQL, put it into guard.functions")
            }
            _ => (Severity::Serious, "put it into guard.functions, or take EXECUTE away"),
        };
        Some(self.finding(severity, format!("{what}{rights}: {advice}")))
    }

    /// What is worth saying about a function in a language that is not read.
    fn unread(&self) -> Option<String> {
        let is_servers = matches!(self.language.as_str(), "c" | "internal");
        (!is_servers && self.call == Call::Possible)
            .then(|| format!("is written in {}, which pgwarden cannot read", self.language))
    }

    fn finding(&self, severity: Severity, message: String) -> Finding {
        let revoked = severity == Severity::Serious;
        let sql = revoked.then(|| format!("REVOKE EXECUTE ON {} {} FROM PUBLIC", self.word, self.signature));
        Finding { severity, kind: "function", object: self.signature.clone(), message, sql }
    }

    /// With its owner's rights it must not look into the caller's temporary schema first, where types may be.
    fn path(&self) -> Option<Finding> {
        let set = self.settings.lines().find_map(|line| line.strip_prefix("search_path="));
        let ends_well = |path: &str| {
            path.rsplit(',').next().is_some_and(|last| last.trim().trim_matches('"') == "pg_temp")
        };
        if self.runs_as == RunsAs::Caller || set.is_some_and(ends_well) {
            return None;
        }
        let (message, path) = match set {
            None => ("runs with its owner's rights and its caller's search_path", self.schema.as_str()),
            Some("" | "\"\"") => {
                ("runs with its owner's rights, and finds types in pg_temp first", "pg_catalog")
            }
            Some(path) => ("runs with its owner's rights, and finds types in pg_temp first", path),
        };
        Some(Finding {
            severity: Severity::Warning,
            kind: "function",
            object: self.signature.clone(),
            message: format!("{message}: it must end with pg_temp"),
            sql: Some(format!("ALTER {} {} SET search_path = {path}, pg_temp", self.word, self.signature)),
        })
    }
}
