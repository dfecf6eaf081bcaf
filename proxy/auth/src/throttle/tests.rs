use super::*;

const PATIENCE: Patience =
    Patience { free: 3, first: Duration::from_millis(100), most: Duration::from_secs(10) };
const LIMIT: Duration = Duration::from_secs(60);

fn throttle() -> Throttle {
    Throttle::new(PATIENCE, [7; 32])
}

fn suspect<'a>(address: &str, user: &'a str) -> Suspect<'a> {
    Suspect { address: address.parse().ok(), user }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fail(throttle: &Throttle, suspect: &Suspect<'_>, times: u32, now: Duration) {
    (0..times).for_each(|_| throttle.failed(suspect, now));
}

#[test]
fn the_delay_doubles_from_the_first_failure_that_is_not_free_to_the_longest() {
    let delays = [0, 0, 0, 0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
    for (failures, delay) in (0..).zip(delays) {
        assert_eq!(PATIENCE.delay(failures), Duration::from_millis(delay), "{failures}");
    }
    assert_eq!(PATIENCE.delay(u32::MAX), seconds(10));
    let never = Patience { first: Duration::ZERO, ..PATIENCE };
    assert_eq!(never.delay(100), Duration::ZERO);
}

#[test]
fn each_failure_makes_the_next_attempt_wait_longer() {
    let (throttle, eve) = (throttle(), suspect("192.0.2.1", "alice"));
    fail(&throttle, &eve, 3, seconds(0));
    assert_eq!(throttle.turn(&eve, seconds(0), LIMIT), Turn::Now);
    throttle.failed(&eve, seconds(0));
    assert_eq!(throttle.turn(&eve, seconds(0), LIMIT), Turn::Later(Duration::from_millis(100)));
    fail(&throttle, &eve, 20, seconds(1));
    assert_eq!(throttle.turn(&eve, seconds(1), LIMIT), Turn::Later(seconds(10)));
    assert_eq!(throttle.turn(&eve, seconds(31), LIMIT), Turn::Later(seconds(10)), "time alone is no excuse");
}

#[test]
fn attempts_from_one_address_take_turns_as_long_as_they_can_wait() {
    let throttle = throttle();
    fail(&throttle, &suspect("192.0.2.1", "alice"), 20, seconds(0));
    let turns: Vec<_> = (0..8)
        .map(|n| {
            let user = format!("user{n}");
            throttle.turn(&suspect("192.0.2.1", &user), seconds(0), LIMIT)
        })
        .collect();
    let expected: Vec<_> =
        (1..=6).map(|n| Turn::Later(seconds(10 * n))).chain([Turn::Never, Turn::Never]).collect();
    assert_eq!(turns, expected);
    // Who could not wait has taken no turn.
    assert_eq!(throttle.turn(&suspect("192.0.2.1", "bob"), seconds(10), LIMIT), Turn::Later(seconds(60)));
}

#[test]
fn nobody_is_kept_out_by_strangers_for_longer_than_the_longest_delay() {
    let throttle = throttle();
    for n in 0..200_u8 {
        let address = format!("198.51.100.{n}");
        throttle.failed(&suspect(&address, "alice"), seconds(0));
        let _turn = throttle.turn(&suspect(&address, "alice"), seconds(0), LIMIT);
    }
    assert_eq!(throttle.turn(&suspect("192.0.2.1", "alice"), seconds(0), LIMIT), Turn::Later(seconds(10)));
    assert_eq!(throttle.turn(&suspect("192.0.2.1", "bob"), seconds(0), LIMIT), Turn::Now);
}

#[test]
fn a_right_proof_is_a_new_beginning_for_its_address_and_its_user() {
    let throttle = throttle();
    fail(&throttle, &suspect("192.0.2.1", "alice"), 20, seconds(0));
    throttle.succeeded(&suspect("192.0.2.1", "alice"), seconds(5));
    assert_eq!(throttle.turn(&suspect("192.0.2.1", "bob"), seconds(5), LIMIT), Turn::Now);
    assert_eq!(throttle.turn(&suspect("192.0.2.2", "alice"), seconds(5), LIMIT), Turn::Now);
    fail(&throttle, &suspect("192.0.2.1", "bob"), 4, seconds(5));
    assert_eq!(
        throttle.turn(&suspect("192.0.2.1", "bob"), seconds(5), LIMIT),
        Turn::Later(Duration::from_millis(100)),
        "it counts from the beginning"
    );
}

#[test]
fn who_has_logged_in_from_there_is_not_held_up_by_others() {
    let (throttle, alice) = (throttle(), suspect("192.0.2.1", "alice"));
    throttle.succeeded(&alice, seconds(0));
    fail(&throttle, &suspect("192.0.2.1", "bob"), 20, seconds(1));
    fail(&throttle, &suspect("198.51.100.1", "alice"), 20, seconds(1));
    assert_eq!(throttle.turn(&alice, seconds(1), LIMIT), Turn::Now);
    assert_ne!(throttle.turn(&suspect("192.0.2.2", "alice"), seconds(1), LIMIT), Turn::Now);
    throttle.failed(&alice, seconds(2));
    assert_ne!(throttle.turn(&alice, seconds(2), LIMIT), Turn::Now, "a wrong password ends it");
    throttle.succeeded(&alice, seconds(3));
    fail(&throttle, &suspect("192.0.2.1", "bob"), 20, seconds(902));
    assert_ne!(throttle.turn(&alice, seconds(903), LIMIT), Turn::Now, "it was too long ago");
}

#[test]
fn an_address_is_an_ipv4_address_or_a_64_bit_prefix_and_all_unix_sockets_are_one() {
    for (one, same, other) in [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"),
        ("-", "-", "::1"),
    ] {
        let throttle = throttle();
        for user in ["a", "b", "c", "d"] {
            throttle.failed(&suspect(one, user), seconds(0));
        }
        assert_ne!(throttle.turn(&suspect(same, "e"), seconds(0), LIMIT), Turn::Now, "{same}");
        assert_eq!(throttle.turn(&suspect(other, "e"), seconds(0), LIMIT), Turn::Now, "{other}");
    }
}

#[test]
fn failures_are_forgotten_in_time() {
    let (throttle, eve) = (throttle(), suspect("192.0.2.1", "alice"));
    fail(&throttle, &eve, 20, seconds(0));
    assert_ne!(throttle.turn(&eve, seconds(0), LIMIT), Turn::Now);
    assert_eq!(throttle.turn(&eve, seconds(900), LIMIT), Turn::Now);
    throttle.failed(&eve, seconds(901));
    assert_eq!(throttle.turn(&eve, seconds(901), LIMIT), Turn::Now, "it counts from the beginning");
}

#[test]
fn memory_is_bounded_and_the_oldest_make_room() {
    let throttle = Throttle { capacity: 8, ..throttle() };
    fail(&throttle, &suspect("192.0.2.1", "alice"), 20, seconds(0));
    let most = SHARDS * throttle.capacity;
    for n in 0..4_000_u32 {
        let (now, name) = (Duration::from_millis(u64::from(n) + 1), n.to_string());
        let stranger = Suspect { address: Some(IpAddr::from(n.to_be_bytes())), user: &name };
        throttle.succeeded(&stranger, now);
        throttle.failed(&Suspect { address: None, ..stranger }, now);
    }
    let held = |count: fn(&Shard) -> usize| -> usize {
        throttle.shards.iter().map(|shard| count(&shard.lock().unwrap())).sum()
    };
    for held in [held(|shard| shard.failures.len()), held(|shard| shard.friends.len())] {
        assert!(held <= most && held > most / 2, "{held}");
    }
    assert_eq!(throttle.turn(&suspect("192.0.2.2", "alice"), seconds(5), LIMIT), Turn::Now);
}

#[test]
fn without_a_delay_nothing_is_held_up() {
    let throttle = Throttle::new(Patience { first: Duration::ZERO, ..PATIENCE }, [7; 32]);
    let eve = suspect("192.0.2.1", "alice");
    fail(&throttle, &eve, 100, seconds(0));
    assert_eq!(throttle.turn(&eve, seconds(0), LIMIT), Turn::Now);
}

#[test]
fn nothing_of_names_is_printed() {
    let throttle = throttle();
    throttle.failed(&suspect("192.0.2.1", "hunter2"), seconds(0));
    assert!(!format!("{throttle:?}").contains("hunter2"));
}

#[test]
fn another_patience_counts_what_has_failed_before() {
    let (throttle, eve) = (throttle(), suspect("192.0.2.1", "alice"));
    fail(&throttle, &eve, 3, seconds(0));
    assert_eq!(throttle.turn(&eve, seconds(0), LIMIT), Turn::Now);
    throttle.follow(Patience { free: 2, ..PATIENCE });
    assert_eq!(throttle.turn(&eve, seconds(0), LIMIT), Turn::Later(Duration::from_millis(100)));
    throttle.follow(Patience { first: Duration::ZERO, ..PATIENCE });
    assert_eq!(throttle.turn(&eve, seconds(0), LIMIT), Turn::Now);
}
