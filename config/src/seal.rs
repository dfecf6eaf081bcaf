//! Whether the context is sealed: a variable of its own that proves who set the others.

use std::time::Duration;

use crate::context::ContextSettings;
use crate::mistake::{Fault, Mistake, Origin};
use crate::reader::Reader;
use crate::secret::SecretText;
use crate::upstream::{Pooler, Upstream};
use crate::variable;

const KEY: &str = "context.seal.key";
const VARIABLE: &str = "context.seal.variable";
const DEFAULT_VARIABLE: &str = "app.context_seal";
const LIFETIME: Duration = Duration::from_secs(10);

/// How the context is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealSettings {
    /// The key, as `pgwarden seal keygen` writes it.
    pub key: SecretText,
    /// For how long a transaction may begin with a seal.
    pub lifetime: Duration,
    /// The variable that holds the seal.
    pub variable: String,
}

/// Reads `[context.seal]`; nothing without a key.
pub(crate) fn resolve(
    reader: &mut Reader<'_>,
    context: &ContextSettings,
    upstream: Option<&Upstream>,
) -> Option<SealSettings> {
    let key = reader.secret(KEY);
    let lifetime = reader.duration("context.seal.lifetime", Duration::from_secs(1), Duration::from_secs(600));
    let variable = reader.parse(VARIABLE, |text| variable::check_name(text).map(|()| text.to_owned()));
    let variable = variable.unwrap_or_else(|| DEFAULT_VARIABLE.to_owned());
    if !reader.is_written(KEY) {
        return None;
    }
    if context.variables.iter().any(|one| one.name.eq_ignore_ascii_case(&variable)) {
        let place = if reader.is_written(VARIABLE) { VARIABLE } else { KEY };
        let fault = Fault::new(
            format!("{variable:?} is a variable of the context already"),
            "a variable for the seal alone, context.seal.variable",
        );
        reader.wrong(place, fault);
    }
    if !reader.is_written("context.variables") {
        reader.wrong(KEY, Fault::new("there is nothing to seal", "context.variables as well"));
    }
    if upstream.is_some_and(|upstream| upstream.downstream_pooler == Pooler::Transaction) {
        reader.wrong(KEY, behind_pooler());
    }
    Some(SealSettings { key: key?, lifetime: lifetime.unwrap_or(LIFETIME), variable })
}

/// What must not be in force together with the pooler that is.
pub(crate) fn in_force(context: &ContextSettings, upstream: &Upstream) -> Option<Mistake> {
    let behind = context.seal.is_some() && upstream.downstream_pooler == Pooler::Transaction;
    behind.then(|| behind_pooler().at(Origin::Absent, KEY))
}

fn behind_pooler() -> Fault {
    Fault::new(
        "a seal is good for one server process, and a pooler takes another for each transaction",
        "upstream.downstream_pooler = \"no\"",
    )
}
