//! Tokens of many tenants, signed in advance: what an issuer would have done.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Mutex;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use crate::Result;
use crate::schema;

/// The secret that pgwarden verifies them with.
pub const SECRET: &str = "a secret of the benchmark, of more than thirty-two bytes";

/// When they expire, in seconds since 1970: the year 2100.
const EXPIRY: u64 = 4_102_444_800;

/// The comments with the tokens of so many tenants, in their order; made once for each number.
pub fn comments(tenants: u32) -> Result<Rc<[String]>> {
    static MADE: Mutex<Option<HashMap<u32, Vec<String>>>> = Mutex::new(None);
    let mut made = MADE.lock().map_err(|_| "a thread that made tokens has panicked")?;
    match made.get_or_insert_default().entry(tenants) {
        Entry::Occupied(known) => Ok(known.get().as_slice().into()),
        Entry::Vacant(place) => {
            let new = (1..=tenants).map(comment).collect::<Result<Vec<_>>>()?;
            Ok(place.insert(new).as_slice().into())
        }
    }
}

fn comment(tenant: u32) -> Result<String> {
    let claims = json!({"org": schema::tenant(tenant), "sub": schema::USER, "exp": EXPIRY});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    Ok(format!(" /*pgwarden_token='{}'*/", encode(&Header::default(), &claims, &key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenant_has_a_token_of_its_own() {
        let all = comments(3).expect("signed");
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|one| one.starts_with(" /*pgwarden_token='ey")));
        assert_ne!(all[0], all[1]);
    }
}
