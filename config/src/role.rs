//! The role that transactions run as.

use crate::mistake::Fault;
use crate::reader::Reader;
use crate::variable::ClaimPath;

const ROLE: &str = "context.role";
const ROLES: &str = "context.roles";
const CLAIM: &str = "context.role_claim";
const ANONYMOUS: &str = "context.anonymous_role";

/// PostgreSQL cuts longer names off (`NAMEDATALEN - 1`).
const NAME_BYTES: usize = 63;

/// Who transactions run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSettings {
    /// For whom nothing else says it.
    pub usual: String,
    /// For who has no context; the usual one if none is named.
    pub anonymous: String,
    /// The claim that may name another role.
    pub claim: Option<ClaimPath>,
    /// What that claim may say.
    pub allowed: Vec<String>,
}

/// Reads the keys of `[context]` that name roles.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Option<RoleSettings> {
    let usual = reader.parse(ROLE, name);
    let anonymous = reader.parse(ANONYMOUS, name);
    let claim = reader.parse(CLAIM, ClaimPath::parse);
    let mut allowed = Vec::new();
    for item in reader.items(ROLES).unwrap_or_default() {
        allowed.extend(reader.keep(name(&item.text), &item.origin, ROLES));
    }
    if !reader.is_written(ROLE) {
        for key in [ANONYMOUS, CLAIM, ROLES] {
            if reader.is_written(key) {
                reader.wrong(key, Fault::new("no role is set", "context.role as well"));
            }
        }
    } else if claim.is_some() && allowed.is_empty() && !reader.is_spoiled(ROLES) {
        reader.wrong(CLAIM, Fault::new("no role may be named by it", "context.roles as well"));
    } else if reader.is_written(ROLES) && !reader.is_written(CLAIM) {
        reader.wrong(ROLES, Fault::new("nothing names one of these", "context.role_claim as well"));
    }
    let usual = usual?;
    Some(RoleSettings { anonymous: anonymous.unwrap_or_else(|| usual.clone()), usual, claim, allowed })
}

/// `none` is the login itself (`check_role` in `variable.c`), which is what a role is set to get away from.
fn name(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text == "none" || text.contains('\0') || text.len() > NAME_BYTES {
        return Err(Fault::new(format!("{text:?} is not a role"), "the name of a role, at most 63 bytes"));
    }
    Ok(text.to_owned())
}
