//! The context as the server holds it: values for the transaction over values for the session.

/// Of two clients, the tenants as which they log in (A and B), and those for which they may act as well (C and D).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tenant {
    A,
    B,
    C,
    D,
}

impl Tenant {
    /// As whom the clients log in.
    pub(crate) const BOTH: [Tenant; 2] = [Tenant::A, Tenant::B];

    const ALL: [Tenant; 4] = [Tenant::A, Tenant::B, Tenant::C, Tenant::D];

    /// The other one of the same client.
    pub(crate) fn other(self) -> Tenant {
        match self {
            Tenant::A => Tenant::C,
            Tenant::B => Tenant::D,
            Tenant::C => Tenant::A,
            Tenant::D => Tenant::B,
        }
    }

    /// The value of its variable; stands nowhere else.
    pub(crate) fn value(self) -> &'static str {
        match self {
            Tenant::A => "tenant-of-a",
            Tenant::B => "tenant-of-b",
            Tenant::C => "tenant-of-c",
            Tenant::D => "tenant-of-d",
        }
    }

    /// The tenant that a text or bound values name.
    fn named_in(bytes: &[u8]) -> Option<Tenant> {
        Tenant::ALL.into_iter().find(|one| contains(bytes, one.value().as_bytes()))
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Whether a text is pgwarden's own, and sets the context.
pub(crate) fn is_own(text: &[u8]) -> bool {
    [b"SELECT pg_catalog.set_config('app.".as_slice(), b"SET LOCAL \"app\"", b"SET SESSION \"app\""]
        .into_iter()
        .any(|beginning| text.starts_with(beginning))
}

/// The value, for the transaction and for the session.
#[derive(Debug, Clone, Copy, Default)]
struct Layers {
    local: Option<Option<Tenant>>,
    session: Option<Tenant>,
}

/// The context variables of one server process.
#[derive(Debug, Default)]
pub(crate) struct Context {
    now: Layers,
    before: Layers,
    savepoints: Vec<(Vec<u8>, Layers)>,
}

impl Context {
    /// Whose context it is.
    pub(crate) fn tenant(&self) -> Option<Tenant> {
        self.now.local.unwrap_or(self.now.session)
    }

    /// Runs a text that may set the variable, with the values bound to it: pgwarden's own, or a client's.
    pub(crate) fn set(&mut self, text: &[u8], bound: &[u8]) {
        // A variable a text where they are set by SET.
        if !contains(text, b"current_org_id") {
            return;
        }
        let tenant = Tenant::named_in(text).or_else(|| Tenant::named_in(bound));
        if text.starts_with(b"SET LOCAL ") || contains(text, b", true)") {
            self.now.local = Some(tenant);
        } else {
            self.now = Layers { local: None, session: tenant };
        }
    }

    pub(crate) fn begin(&mut self) {
        self.before = self.now;
    }

    pub(crate) fn end(&mut self, commits: bool) {
        if !commits {
            self.now = self.before;
        }
        self.now.local = None;
        self.savepoints.clear();
    }

    pub(crate) fn reset(&mut self) {
        self.now = Layers::default();
    }

    pub(crate) fn savepoint(&mut self, name: &[u8]) {
        self.savepoints.push((name.to_vec(), self.now));
    }

    /// False where there is no savepoint of that name.
    pub(crate) fn roll_back_to(&mut self, name: &[u8]) -> bool {
        let Some(at) = self.savepoints.iter().rposition(|(known, _)| known == name) else { return false };
        self.now = self.savepoints[at].1;
        self.savepoints.truncate(at + 1);
        true
    }

    /// False where there is no savepoint of that name.
    pub(crate) fn release(&mut self, name: &[u8]) -> bool {
        let Some(at) = self.savepoints.iter().rposition(|(known, _)| known == name) else { return false };
        self.savepoints.truncate(at);
        true
    }
}
