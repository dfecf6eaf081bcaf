//! What is remembered and what is not, without a clock and without a server.

use super::*;
use crate::identity::decide::{Denied, Verdict};
use crate::identity::fingerprint::Subjects;
use crate::identity::refusals;
use crate::identity::search::{Freshness, Landed};
use crate::identity::variables::Variables;
use crate::meters::IdentityOutcome;
use pgwarden_tenant::{Context, Presence};

const NOW: u64 = 1_000;

fn memory(entries: usize, hearing: Hearing) -> Arc<Memory> {
    Arc::new(Memory::new(Bounds { entries, ttl: 30, denied_ttl: 5, unnotified_ttl: 1 }, hearing))
}

fn key(name: &str) -> Key {
    crate::identity::fingerprint::sha256(name)
}

fn about(user: &str) -> Subjects {
    Subjects { user: Some(user.to_owned()), ..Subjects::default() }
}

fn granted(user: &str) -> Verdict {
    let context = Context {
        values: vec![user.to_owned()],
        presence: Presence::Present,
        expires_at: None,
        tenants: Vec::new(),
    };
    Verdict { outcome: Ok(context), subjects: about(user), ends_at: None }
}

fn denied(user: &str) -> Verdict {
    let outcome = Err(Denied::Surely(refusals::no_member()));
    Verdict { outcome, subjects: about(user), ends_at: None }
}

#[track_caller]
fn search(memory: &Arc<Memory>, name: &str, now: u64) -> (Search, Landing) {
    match memory.turn(key(name), now) {
        Turn::Ask(search, landing) => (search, landing),
        other => panic!("{other:?}"),
    }
}

/// Searches and finds; the grant, if it is one.
#[track_caller]
fn find(memory: &Arc<Memory>, name: &str, verdict: Verdict, now: u64) -> Option<Arc<Grant>> {
    let (search, landing) = search(memory, name, now);
    search.settle(verdict, &none(), now);
    tell(&landing).outcome.ok()
}

#[track_caller]
fn tell(landing: &Landing) -> Landed {
    landing.borrow().clone().expect("the search has landed")
}

fn is_known(memory: &Memory, name: &str, now: u64) -> bool {
    !matches!(memory.known(&key(name), now), Known::Unknown)
}

fn none() -> Variables {
    Variables::new(Vec::new(), None, None)
}

#[test]
fn what_was_found_is_known_for_its_time() {
    let memory = memory(10, Hearing::Hears);
    find(&memory, "a", granted("ann"), NOW);
    find(&memory, "b", denied("bob"), NOW);
    assert!(matches!(memory.known(&key("a"), NOW + 29), Known::Granted(_)));
    assert!(matches!(memory.known(&key("b"), NOW + 4), Known::Denied(_)));
    assert!(!is_known(&memory, "a", NOW + 30) && !is_known(&memory, "b", NOW + 5));
    assert!(!is_known(&memory, "a", NOW - 1), "a clock that was put back makes nothing last longer");
}

#[test]
fn the_end_of_a_session_ends_what_was_granted_for_it() {
    let memory = memory(10, Hearing::Hears);
    let grant =
        find(&memory, "a", Verdict { ends_at: Some(NOW + 7), ..granted("ann") }, NOW).expect("granted");
    assert_eq!([6, 7].map(|more| grant.standing(NOW + more)), [Standing::Good, Standing::Stale]);
}

#[test]
fn a_failure_is_told_to_all_who_wait_and_not_remembered() {
    let memory = memory(10, Hearing::Hears);
    let (search, first) = search(&memory, "a", NOW);
    let Turn::Wait(second) = memory.turn(key("a"), NOW) else { panic!("it is being searched for") };
    let failed = Denied::ForNow(refusals::abandoned(), IdentityOutcome::Failed);
    search.settle(Verdict { outcome: Err(failed), ..granted("ann") }, &none(), NOW);
    assert!(tell(&first).outcome.is_err() && tell(&second).outcome.is_err());
    assert!(!is_known(&memory, "a", NOW));
    assert!(matches!(memory.turn(key("a"), NOW), Turn::Ask(..)));
}

#[test]
fn one_searches_and_the_others_wait() {
    let memory = memory(10, Hearing::Hears);
    let (search, _) = search(&memory, "a", NOW);
    let waiting: Vec<Turn> = (0..5).map(|_| memory.turn(key("a"), NOW)).collect();
    search.settle(granted("ann"), &none(), NOW);
    for turn in waiting {
        let Turn::Wait(landing) = turn else { panic!("{turn:?}") };
        assert!(tell(&landing).outcome.is_ok() && tell(&landing).freshness == Freshness::Current);
    }
    assert!(matches!(memory.turn(key("a"), NOW), Turn::Known(Known::Granted(_))));
}

#[test]
fn a_search_that_is_given_up_leaves_its_place() {
    let memory = memory(10, Hearing::Hears);
    let (first, landing) = search(&memory, "a", NOW);
    drop(first);
    assert!(landing.has_changed().is_err(), "those who wait are told that nobody searches");
    let (second, _) = search(&memory, "a", NOW);
    second.settle(granted("ann"), &none(), NOW);
    assert!(is_known(&memory, "a", NOW));
}

#[test]
fn a_change_takes_back_what_is_about_it_and_nothing_else() {
    let memory = memory(10, Hearing::Hears);
    let subjects = Subjects {
        user: Some("ann".to_owned()),
        tenant: Some("acme".to_owned()),
        token: Some("ab".repeat(32)),
    };
    let token = format!("token:{}", "AB".repeat(32));
    for payload in ["user:ann", "org:acme", token.as_str(), "all", "something else"] {
        let verdict = Verdict { subjects: subjects.clone(), ..granted("ann") };
        let ann = find(&memory, "a", verdict, NOW).expect("granted");
        let bob = find(&memory, "b", granted("bob"), NOW).expect("granted");
        for other in ["user:acme", "org:ann", "user:Ann"] {
            memory.forget(Change::read(other));
        }
        assert!(is_known(&memory, "a", NOW) && ann.standing(NOW) == Standing::Good);
        memory.forget(Change::read(payload));
        assert!(!is_known(&memory, "a", NOW) && ann.standing(NOW) == Standing::Stale, "{payload}");
        let everybody = !payload.contains(':');
        assert_eq!(bob.standing(NOW) == Standing::Stale, everybody, "{payload}");
        memory.forget(Change::Everything);
    }
}

#[test]
fn a_denial_is_forgotten_by_a_change_as_well() {
    let memory = memory(10, Hearing::Hears);
    find(&memory, "a", denied("ann"), NOW);
    memory.forget(Change::User("ann"));
    assert!(!is_known(&memory, "a", NOW));
}

/// It looked before the change was committed, and ends after it was told.
#[test]
fn what_a_change_overtakes_counts_once_and_stays_nowhere() {
    for change in [Change::User("ann"), Change::Everything] {
        let memory = memory(10, Hearing::Hears);
        let (search, first) = search(&memory, "a", NOW);
        memory.forget(change);
        let Turn::Wait(late) = memory.turn(key("a"), NOW) else { panic!("it is being searched for") };
        search.settle(granted("ann"), &none(), NOW);
        assert_eq!(tell(&late).freshness, Freshness::Overtaken, "who came later has to ask again");
        let grant = tell(&first).outcome.expect("what was true when it was asked for");
        assert_eq!(grant.standing(NOW), Standing::Stale);
        assert!(!is_known(&memory, "a", NOW));
    }
    let memory = memory(10, Hearing::Hears);
    let (search, landing) = search(&memory, "a", NOW);
    memory.forget(Change::User("bob"));
    search.settle(granted("ann"), &none(), NOW);
    assert_eq!(tell(&landing).freshness, Freshness::Current, "a change of somebody else is none");
}

#[test]
fn what_holds_falls_to_a_safe_time_when_nothing_is_heard_any_more() {
    let memory = memory(10, Hearing::Hears);
    let before = find(&memory, "a", granted("ann"), NOW).expect("granted");
    find(&memory, "b", denied("bob"), NOW);
    memory.is_deaf(NOW + 3);
    assert_eq!([3, 4].map(|more| before.standing(NOW + more)), [Standing::Good, Standing::Stale]);
    assert!(is_known(&memory, "b", NOW + 3) && !is_known(&memory, "b", NOW + 4));
    let meanwhile = find(&memory, "c", granted("cay"), NOW + 10).expect("granted");
    assert_eq!([10, 11].map(|more| meanwhile.standing(NOW + more)), [Standing::Good, Standing::Stale]);
    memory.hears();
    assert_eq!(meanwhile.standing(NOW + 10), Standing::Stale, "what was missed meanwhile is asked for");
    let after = find(&memory, "c", granted("cay"), NOW + 20).expect("granted");
    assert_eq!(after.standing(NOW + 49), Standing::Good);
}

#[test]
fn what_was_remembered_first_makes_room_and_its_holders_ask_again() {
    let memory = memory(3, Hearing::Hears);
    let grants: Vec<_> = ["a", "b", "c", "d"].map(|name| find(&memory, name, granted(name), NOW)).into();
    let standings: Vec<_> = grants.iter().flatten().map(|grant| grant.standing(NOW)).collect();
    assert_eq!(standings, [Standing::Stale, Standing::Good, Standing::Good, Standing::Good]);
    assert!(!is_known(&memory, "a", NOW) && is_known(&memory, "b", NOW));
    assert_eq!(memory.entries.len(), 3);
}

#[test]
fn tokens_that_are_made_up_drive_nobody_out() {
    let memory = memory(3, Hearing::Hears);
    find(&memory, "a", granted("ann"), NOW);
    for number in 0..10_000 {
        find(&memory, &format!("guess {number}"), denied("nobody"), NOW);
    }
    assert!(is_known(&memory, "a", NOW));
    assert_eq!(memory.entries.len(), 4);
}

#[test]
fn the_books_do_not_grow_with_what_is_forgotten() {
    let memory = memory(100, Hearing::Hears);
    find(&memory, "first", granted("somebody else"), NOW);
    for number in 0..20_000 {
        let name = format!("user {}", number % 50);
        find(&memory, &name, granted(&name), NOW);
        memory.forget(Change::User(&name));
    }
    assert!(is_known(&memory, "first", NOW));
    assert!(memory.register().size() < 3_000, "{}", memory.register().size());
    find(&memory, "last", granted("last"), NOW + 30);
    assert_eq!(memory.entries.len(), 1, "what does not hold any more is gone");
}
