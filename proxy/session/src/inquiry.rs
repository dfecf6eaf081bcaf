//! Asking the server what a client has left on its backend: the values of settings that PostgreSQL does not report, and
//! whether the cause of a pin is still there.
//!
//! One query, when a transaction is over that may have left or removed something. The backend stays with the client until
//! the answer has come; the client reads nothing of it, and its next message may follow at once.

mod answer;
mod query;

use crate::backend::Route;
use crate::engine::{Engine, Hold, Pooling};
use crate::output::Output;
use crate::pins::{Change, Pin, Pins, Trace, may_end, trace};
use crate::queue::{Expect, Fate, Purpose};
use crate::tenancy::Tenancy;
use pgwarden_sql::{
    Marks, Script, SetConfigTarget, Statement, Verb, set_config_is_local, set_config_targets,
};
use pgwarden_wire::Status;
use std::collections::{BTreeMap, BTreeSet};

/// What SET SESSION CHARACTERISTICS sets (`SetPGVariable` in `guc_funcs.c`).
const CHARACTERISTICS: [&str; 3] =
    ["default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"];

/// What nobody knows of a client's backend until the server is asked.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// Settings that may have changed, by their names in lower case.
    settings: BTreeMap<Box<str>, Change>,
    /// Settings that PostgreSQL reports, and that went back to what the backend began with.
    reset: BTreeSet<Box<str>>,
    /// Pins that were made since the server was asked last: an answer that is still on its way does not speak of them.
    made: Pins,
    /// Whether the causes of pins are there.
    causes: Causes,
    /// Whether the settings were set.
    course: Course,
}

/// What became of the statements that set something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Course {
    /// All have succeeded: the settings exist, and are the client's to set.
    #[default]
    Smooth,
    /// Some of them, or others among them, have failed.
    Errors,
}

/// Whether the causes of pins are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Causes {
    #[default]
    Known,
    InDoubt,
}

/// One question to the server, and its answer once it is there.
#[derive(Debug)]
pub(crate) struct Inquiry {
    settings: Vec<(Box<str>, Change)>,
    course: Course,
    pins: Vec<Pin>,
    answer: Option<Vec<Option<Box<[u8]>>>>,
}

impl Doubts {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.reset.is_empty() && self.causes == Causes::Known
    }

    /// The server has reported an error.
    pub(crate) fn error(&mut self) {
        if !self.settings.is_empty() {
            self.course = Course::Errors;
        }
    }

    fn of(&mut self, name: &str, change: Change) {
        self.settings.insert(name.to_ascii_lowercase().into(), change);
    }
}

impl<T: Tenancy> Engine<T> {
    /// Follows what a statement that is sent may leave on the backend, or take away.
    pub(crate) fn follow(&mut self, statement: &Statement) {
        if self.options.pooling == Pooling::Session {
            return;
        }
        match trace(statement, &self.profile.reported) {
            Trace::Nothing => (),
            Trace::Reported(name) => _ = self.doubts.reset.insert(name.into()),
            Trace::Pins(pins) => pins.iter().for_each(|pin| self.pin_by(pin)),
            Trace::Setting(name, change) => self.follow_setting(name, change),
            Trace::Characteristics => {
                CHARACTERISTICS.iter().for_each(|name| self.follow_setting(name, Change::Set));
            }
        }
        if may_end(statement, self.pins) {
            self.doubts.causes = Causes::InDoubt;
        }
    }

    /// Follows what the calls of set_config in a text may leave on the backend.
    pub(crate) fn follow_set_config(&mut self, text: &[u8], script: &Script) {
        for target in self.set_config_of_session(text, script) {
            match target {
                SetConfigTarget::Literal(name) => self.follow_setting(&name, Change::Set),
                SetConfigTarget::Dynamic => self.pin_by(Pin::Setting),
            }
        }
    }

    /// The first pin that a text would make.
    pub(crate) fn first_pin(&self, text: &[u8], script: &Script) -> Option<Pin> {
        let made = |statement| match trace(statement, &self.profile.reported) {
            Trace::Nothing | Trace::Reported(_) => None,
            Trace::Pins(pins) => pins.first(),
            Trace::Setting(name, _) => self.pin_of_setting(name),
            Trace::Characteristics => self.pin_of_setting(CHARACTERISTICS[0]),
        };
        let set_config = || {
            self.set_config_of_session(text, script).into_iter().find_map(|target| match target {
                SetConfigTarget::Literal(name) => self.pin_of_setting(&name),
                SetConfigTarget::Dynamic => Some(Pin::Setting),
            })
        };
        script.statements().iter().find_map(made).or_else(set_config)
    }

    /// What the calls of set_config set beyond the transaction, except what PostgreSQL reports.
    fn set_config_of_session(&self, text: &[u8], script: &Script) -> Vec<SetConfigTarget> {
        let strings = self.reading().strings();
        let statements = script
            .statements()
            .iter()
            .filter(|one| one.verb != Verb::Token && one.marks.contains(Marks::SET_CONFIG))
            .filter(|one| !set_config_is_local(text, one, strings));
        let is_reported = |target: &SetConfigTarget| match target {
            SetConfigTarget::Literal(name) => {
                self.profile.reported.iter().any(|(one, _)| one.eq_ignore_ascii_case(name))
            }
            SetConfigTarget::Dynamic => false,
        };
        let targets = statements.flat_map(|one| set_config_targets(text, one, strings));
        targets.filter(|target| !is_reported(target)).collect()
    }

    /// Why a setting cannot be carried, if so.
    fn pin_of_setting(&self, name: &str) -> Option<Pin> {
        let is_role = ["role", "session_authorization"].iter().any(|one| one.eq_ignore_ascii_case(name));
        match () {
            () if is_role => Some(Pin::Role),
            // What another role may set, the login may not set back.
            () if self.pins.contains(Pin::Role) => Some(Pin::Setting),
            // What the connection to a pooler has, its servers have not.
            () if self.is_behind_pooler() => Some(Pin::Setting),
            () => None,
        }
    }

    fn follow_setting(&mut self, name: &str, change: Change) {
        match self.pin_of_setting(name) {
            Some(pin) => self.pin_by(pin),
            None => self.doubts.of(name, change),
        }
    }

    fn pin_by(&mut self, pin: Pin) {
        self.pins.insert(pin);
        self.doubts.made.insert(pin);
        if query::cause(pin).is_some() {
            self.doubts.causes = Causes::InDoubt;
        }
    }

    /// Asks the server, if there is something to ask and nothing is going on.
    pub(crate) fn inquire(&mut self, out: &mut Output) {
        let due = !self.doubts.is_empty() && self.reported == Status::Idle && self.is_settled();
        if !due {
            return;
        }
        for name in std::mem::take(&mut self.doubts.reset) {
            self.fall_back_to_start(|reported| reported.eq_ignore_ascii_case(&name), out);
        }
        if !self.pins.is_empty() {
            self.bring_along(out);
        }
        let Some(backend) = &mut self.lease else { return };
        if backend.capabilities.route == Route::Pooler {
            self.doubts = Doubts::default();
            return;
        }
        let doubts = std::mem::take(&mut self.doubts);
        let pins = if doubts.causes == Causes::InDoubt { self.pins } else { Pins::default() };
        let inquiry = Inquiry {
            pins: pins.iter().filter(|pin| query::cause(*pin).is_some()).collect(),
            settings: doubts.settings.into_iter().collect(),
            course: doubts.course,
            answer: None,
        };
        if inquiry.pins.is_empty() && inquiry.settings.is_empty() {
            return;
        }
        if inquiry.settings.iter().any(|(name, _)| &**name == "search_path") {
            // What is prepared next means what it means under the new one.
            self.hold = Hold::Settled;
        }
        self.ask(inquiry, out);
    }

    fn ask(&mut self, inquiry: Inquiry, out: &mut Output) {
        self.unnamed_lost();
        out.backend.write(|w| {
            w.query(inquiry.query().as_bytes());
        });
        self.queue.push(Expect::Query, Fate::Own(Purpose::Inquiry(Box::new(inquiry))));
    }
}
