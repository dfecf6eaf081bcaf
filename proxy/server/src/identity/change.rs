//! What is told on the channel: whose answers do not hold any more.

/// Something that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// A user: its tenant, its memberships, its sessions.
    User(&'a str),
    /// A tenant: who belongs to it.
    Tenant(&'a str),
    /// A token, by the hexadecimal digits of its SHA-256.
    Token(&'a str),
    /// Anything.
    Everything,
}

impl<'a> Change<'a> {
    /// Reads a payload. What cannot be read may be about anybody.
    pub(super) fn read(payload: &'a str) -> Self {
        match payload.split_once(':') {
            Some(("user", user)) if !user.is_empty() => Self::User(user),
            Some(("org", tenant)) if !tenant.is_empty() => Self::Tenant(tenant),
            Some(("token", digits)) if is_sha256(digits) => Self::Token(digits),
            _ => Self::Everything,
        }
    }
}

fn is_sha256(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_name_whom_they_are_about() {
        let digits = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
        let token = format!("token:{digits}");
        assert_eq!(Change::read("user:a:b"), Change::User("a:b"));
        assert_eq!(Change::read("org:7"), Change::Tenant("7"));
        assert_eq!(Change::read(&token), Change::Token(&digits));
        for payload in ["all", "", "user:", "org", "token:12", "USER:1", "users:1"] {
            assert_eq!(Change::read(payload), Change::Everything, "{payload}");
        }
    }
}
