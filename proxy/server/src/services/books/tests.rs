use super::*;

/// What was written down: when, and an account.
type Written = Arc<Mutex<Vec<(Stage, Account)>>>;

struct Page(Written);

impl Sink for Page {
    fn record(&mut self, stage: Stage, _: u64, account: &Account) {
        self.0.lock().unwrap().push((stage, account.clone()));
    }
}

fn books(interval: Duration) -> (Books, Written) {
    let written = Written::default();
    (Books::start(interval, Box::new(Page(Arc::clone(&written)))).unwrap(), written)
}

fn party() -> Party {
    let text = |text: &str| text.to_owned();
    Party {
        service: text("jobs"),
        user: text("jobs"),
        database: text("app"),
        role: text("owner"),
        client: text("unix"),
        reason: text("OPS-1"),
        began: 0,
    }
}

fn text(text: &str) -> Observation {
    Observation::Text(text.as_bytes().into())
}

#[test]
fn the_last_account_of_a_session_has_every_table_that_was_named_before() {
    let (books, written) = books(Duration::from_secs(3_600));
    let open = books.begin(party());
    for number in 0..50 {
        books.note(&open, text(&format!("SELECT FROM t{number}")));
    }
    books.note(&open, text("no SQL at all"));
    assert_eq!(books.open().len(), 1);
    books.end(&open);
    books.close(Duration::from_secs(20));
    let written = written.lock().unwrap();
    let stages: Vec<Stage> = written.iter().map(|(stage, _)| *stage).collect();
    assert_eq!(stages, [Stage::Begun, Stage::Ended]);
    let (_, account) = &written[1];
    assert_eq!((account.tables.read.len(), account.unread), (50, 1));
    assert!(account.ended.is_some() && books.open().is_empty());
}

#[test]
fn an_account_that_goes_on_is_written_down_again_and_again() {
    let (books, written) = books(Duration::from_millis(1));
    let open = books.begin(party());
    let started = Instant::now();
    while written.lock().unwrap().iter().filter(|(stage, _)| *stage == Stage::GoesOn).count() < 3 {
        assert!(started.elapsed() < Duration::from_secs(20), "it is not");
        std::thread::yield_now();
    }
    books.end(&open);
    books.close(Duration::from_secs(20));
    assert_eq!(written.lock().unwrap().last().map(|(stage, _)| *stage), Some(Stage::Ended));
}

#[test]
fn texts_that_find_no_place_count_as_unread() {
    let (books, _) = books(Duration::from_secs(3_600));
    let open = books.begin(party());
    books.waiting.store(BACKLOG, Ordering::Release);
    books.note(&open, text("SELECT FROM a"));
    assert_eq!(open.with(|account| account.unread), 1);
}
