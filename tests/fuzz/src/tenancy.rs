//! A tenancy for sessions without a configuration: what tokens and claims stand for is known from the start.

use std::collections::HashSet;
use std::sync::Arc;

use pgwarden_session::{
    Carrier, Claim, End, Overseer, Place, Refusal, Ruling, Sent, Shown, Subject, Tenancy, Ticket,
};
use pgwarden_sql::Script;
use pgwarden_tenant::{
    Authority, ClaimRules, Claimant, Context, Denial, Evidence, Grant, Guard, Held, Identity, Kind, Known,
    Missing, Mode, Names, Observer, Offence, Permission, Protected, RelationCache, Shared, Source, Stance,
    TokenRules, Variable, Warden, encode,
};

use crate::onlooker::Onlooker;

/// The organisation and the user of a context.
pub type Values = [String; 2];

const VARIABLES: [&str; 2] = ["app.current_org_id", "app.current_user_id"];

/// A warden in `enforce`, and words that decide about the statements they stand in: what says `forbidden` is refused,
/// what says `question` is looked at elsewhere first.
#[derive(Debug)]
pub struct Everything {
    warden: Warden,
    book: Arc<Book>,
    guard: Arc<Guard>,
    relations: Arc<RelationCache>,
    seen: HashSet<Vec<u8>>,
    /// Looks at everything that comes back; what it saw depends on the bytes alone, not on how they were split.
    onlooker: Onlooker,
}

/// What evidence stands for. `token-own` and `token-other` are known at once, `token-own-asked` and `token-other-asked`
/// have to be looked up, `token-old` has expired, and no other is good. A claim is good of the two contexts alone.
#[derive(Debug)]
struct Book {
    own: Arc<Grant>,
    other: Arc<Grant>,
    old: Arc<Grant>,
}

impl Book {
    fn open([own, other]: &[Values; 2]) -> Book {
        let old = Context { expires_at: Some(0), ..context(own) };
        Book { own: grant(context(own)), other: grant(context(other)), old: grant(old) }
    }

    fn look_up(&self, evidence: &Evidence) -> Result<Arc<Grant>, Denial> {
        let found = match evidence {
            Evidence::Token(token) => match token.strip_suffix("-asked").unwrap_or(token) {
                "token-own" => Some(&self.own),
                "token-other" => Some(&self.other),
                "token-old" => Some(&self.old),
                _ => None,
            },
            Evidence::Login(_) => Some(&self.own),
            Evidence::Claim(identity) => [&self.own, &self.other].into_iter().find(|grant| {
                let said = [&identity.tenant, &identity.user];
                let values = grant.context.values.iter().map(Some);
                values.eq(said.map(Option::as_ref))
            }),
        };
        found.cloned().ok_or_else(|| Denial {
            offence: Offence::ContextDenied,
            refusal: Refusal::new("28000", "it stands for nothing", "", ""),
        })
    }
}

impl Authority for Book {
    fn known(&self, evidence: &Evidence, _: u64) -> Known {
        match evidence {
            Evidence::Token(token) if token.ends_with("-asked") => Known::Unknown,
            _ => self.look_up(evidence).map_or_else(Known::Denied, Known::Granted),
        }
    }
}

/// Nobody counts.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn found(&self, _: Offence, _: Mode) {}
}

impl Everything {
    /// Of a client that has logged in with the first of two contexts.
    pub(crate) fn new(contexts: &[Values; 2]) -> Everything {
        let book = Arc::new(Book::open(contexts));
        let relations = Arc::new(RelationCache::default());
        let guard = Arc::new(Guard::new(Protected::new(&VARIABLES), Stance::Reject));
        let [organisation, user] = &contexts[0];
        let login =
            Identity { tenant: Some(organisation.clone()), user: Some(user.clone()), ..Identity::default() };
        let granted = Permission::Granted;
        let shared = Shared {
            guard: Arc::clone(&guard),
            observer: Arc::new(Nobody),
            relations: Arc::clone(&relations),
            authority: Arc::clone(&book) as Arc<dyn Authority>,
            blank: grant(resolved(&Identity::default())),
            tokens: TokenRules { set: granted, set_config: granted, comment: granted, limit: 100 },
            claims: Arc::new(ClaimRules::new(&variables())),
            gate: None,
        };
        let held = Held { evidence: None, grant: Arc::clone(&book.own) };
        let warden = Warden::new((Mode::Enforce, Missing::Refuse), held, &shared)
            .listening_to(Claimant { login: Arc::new(login) });
        Everything { warden, book, guard, relations, seen: HashSet::new(), onlooker: Onlooker::default() }
    }

    /// What its overseer was told.
    #[must_use]
    pub fn seen(&self) -> &str {
        &self.onlooker.seen
    }

    /// Looks elsewhere at what the engine asks about: evidence, or a text.
    pub(crate) fn look(&mut self, text: &[u8]) {
        if let Some(evidence) = self.warden.question() {
            let found = self.book.look_up(&evidence);
            self.warden.answered(evidence, found);
        } else {
            self.relations.remember(text, Names::Relation);
            self.guard.parse(text);
            self.seen.insert(text.to_vec());
        }
    }
}

impl Tenancy for Everything {
    fn carrier(&self) -> Option<&Arc<Carrier>> {
        self.warden.carrier()
    }

    fn rule(&mut self, subject: Subject<'_>, place: Place, now: u64) -> Ruling {
        if let Subject::Text { text, .. } = subject {
            let says = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
            if says(b"forbidden") {
                return Ruling::Refuse(Box::new(Refusal::new("42501", "not allowed", "", "")));
            }
            if says(b"question") && !self.seen.contains(text) {
                return Ruling::Ask;
            }
        }
        self.warden.rule(subject, place, now)
    }

    fn show(&mut self, shown: Shown<'_>, place: Place, now: u64) -> Ruling {
        self.warden.show(shown, place, now)
    }

    fn reads_comments(&self) -> bool {
        self.warden.reads_comments()
    }

    fn hears(&self, setting: &str) -> bool {
        self.warden.hears(setting)
    }

    fn claim(&mut self, claims: &[Claim], place: Place, now: u64) -> Ruling {
        self.warden.claim(claims, place, now)
    }

    fn reset(&mut self, place: Place) {
        self.warden.reset(place);
    }

    fn carrier_behind(&self, end: End) -> Option<&Arc<Carrier>> {
        self.warden.carrier_behind(end)
    }

    fn reads_values(&self, text: &[u8], script: &Script) -> bool {
        self.warden.reads_values(text, script)
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<Ticket> {
        Some(self.onlooker.sent(sent))
    }

    fn overseer(&mut self) -> Option<&mut dyn Overseer> {
        Some(&mut self.onlooker)
    }

    fn fails_closed(&self) -> bool {
        self.warden.fails_closed()
    }

    fn protects(&self, setting: &str) -> bool {
        self.warden.protects(setting)
    }
}

fn variables() -> [Variable; 2] {
    let variable = |name: &str, source| Variable { name: name.into(), source, kind: Kind::Text, limit: 100 };
    [variable(VARIABLES[0], Source::Tenant), variable(VARIABLES[1], Source::User)]
}

fn resolved(identity: &Identity) -> Context {
    Context::resolve(&variables(), identity).expect("any text is a value")
}

fn context([organisation, user]: &Values) -> Context {
    let (tenant, user) = (Some(organisation.clone()), Some(user.clone()));
    resolved(&Identity { tenant, user, ..Identity::default() })
}

fn grant(context: Context) -> Arc<Grant> {
    let carrier = Arc::new(encode(&VARIABLES, &context.values));
    Arc::new(Grant::lasting(context, Some(carrier)))
}
