//! What is said: every kind of message, and every way in which a context gets in front of one.

use pgwarden_tests::Frontend;
use pgwarden_tests::tenants::run;

/// What a client sends in one write, and what it then waits for.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What is sent.
    pub messages: Frontend,
    /// The tag waited for.
    pub until: u8,
    /// How often it has to come.
    pub count: usize,
}

impl Turn {
    /// Whether `messages` are all that the client waits for.
    pub fn is_answered(&self, messages: &[pgwarden_tests::Message]) -> bool {
        messages.iter().filter(|message| message.tag == self.until).count() >= self.count
    }
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its name.
    pub name: &'static str,
    /// What is said.
    pub turns: Vec<Turn>,
    /// Whether a direct connection gives the same replies: nothing is refused, nothing random comes back.
    pub is_plain: bool,
}

/// A conversation in which the client waits for so many ReadyForQuery after each write.
pub fn spoken(name: &'static str, turns: Vec<(Frontend, usize)>) -> Conversation {
    let turn = |(messages, count)| Turn { messages, until: b'Z', count };
    Conversation { name, turns: turns.into_iter().map(turn).collect(), is_plain: true }
}

/// A query, and the one ReadyForQuery that follows.
pub fn query(sql: &str) -> (Frontend, usize) {
    (Frontend::new().query(sql), 1)
}

/// All short ones.
pub fn conversations() -> Vec<Conversation> {
    [simple(), extended(), copies(), own_answers(), cut_off()].concat()
}

fn simple() -> Vec<Conversation> {
    vec![
        spoken(
            "simple queries",
            vec![query("SELECT org()"), query(""), query("SELECT 1/0"), query("SELECT who()")],
        ),
        spoken(
            "a block",
            vec![
                query("BEGIN"),
                query("SELECT org()"),
                query("SAVEPOINT s"),
                query("SELECT nothing"),
                query("ROLLBACK TO s"),
                query("SELECT org()"),
                query("COMMIT"),
            ],
        ),
        spoken(
            "a string of statements",
            vec![query("SELECT org(); BEGIN; SELECT 2; COMMIT; SELECT who(); SELECT 1/0; SELECT 3")],
        ),
        spoken(
            "queries in a pipeline",
            vec![(
                Frontend::new().query("BEGIN").query("SELECT org()").query("COMMIT").query("SELECT 1/0"),
                4,
            )],
        ),
        spoken(
            "settings",
            vec![
                query("SET application_name = 'x'"),
                query("SET DateStyle = 'SQL'"),
                query("SHOW DateStyle"),
            ],
        ),
        spoken("notices", vec![query("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")]),
        spoken("what refuses a block", vec![query("VACUUM notes"), query("SELECT org()")]),
        spoken(
            "a function call outside of a block",
            vec![(Frontend::new().function_call(1344, &[Some(b"2")]), 1)],
        ),
        spoken(
            "savepoints in a pipeline",
            vec![
                query("BEGIN; SELECT org(); SAVEPOINT s"),
                (
                    Frontend::new()
                        .query("SELECT 1/0")
                        .query("ROLLBACK TO s")
                        .query("SELECT org()")
                        .query("COMMIT AND CHAIN"),
                    4,
                ),
                query("SELECT who(); ROLLBACK; SELECT org()"),
            ],
        ),
        spoken(
            "a function call",
            vec![
                query("BEGIN"),
                // pg_catalog.sqrt(double precision), by number.
                (Frontend::new().function_call(1344, &[Some(b"2")]), 1),
                query("COMMIT"),
            ],
        ),
    ]
}

fn extended() -> Vec<Conversation> {
    let describe = Frontend::new().parse("", "SELECT $1, org()", &[23]).describe_statement("");
    let named = Frontend::new().parse("s", "SELECT org(), $1::text", &[]).describe_statement("s");
    let flushed = Frontend::new().parse("", "SELECT org()", &[]).flush();
    vec![
        spoken(
            "the unnamed statement",
            vec![(describe.bind("", "", &[Some("7")]).describe_portal("").execute("", 0).sync(), 1)],
        ),
        spoken(
            "a named statement",
            vec![
                (named.sync(), 1),
                (Frontend::new().bind("", "s", &[Some("x")]).execute("", 0).sync(), 1),
                (Frontend::new().bind("", "s", &[None]).execute("", 0).close_statement("s").sync(), 1),
            ],
        ),
        spoken(
            "batches in a pipeline",
            vec![(
                run("BEGIN").sync().raw(run("SELECT org()").sync().bytes()).raw(run("COMMIT").sync().bytes()),
                3,
            )],
        ),
        spoken(
            "an error in a batch",
            vec![
                (
                    run("SELECT 1/0")
                        .raw(run("SELECT org()").bytes())
                        .sync()
                        .raw(run("SELECT who()").sync().bytes()),
                    2,
                ),
                (Frontend::new().bind("", "missing", &[]).execute("", 0).sync(), 1),
            ],
        ),
        spoken(
            "a portal that is read in parts",
            vec![
                query("BEGIN"),
                (
                    Frontend::new()
                        .parse("", "SELECT generate_series(1, 5)", &[])
                        .bind("p", "", &[])
                        .execute("p", 2)
                        .sync(),
                    1,
                ),
                (Frontend::new().execute("p", 2).execute("p", 2).close_portal("p").sync(), 1),
                query("COMMIT"),
            ],
        ),
        Conversation {
            name: "Flush without Sync",
            turns: vec![
                Turn { messages: flushed, until: b'1', count: 1 },
                Turn {
                    messages: Frontend::new().bind("", "", &[]).execute("", 0).flush(),
                    until: b'C',
                    count: 1,
                },
                Turn { messages: Frontend::new().sync(), until: b'Z', count: 1 },
            ],
            is_plain: true,
        },
    ]
}

fn copies() -> Vec<Conversation> {
    let into = |sql: &str| Turn { messages: Frontend::new().query(sql), until: b'G', count: 1 };
    let data = Frontend::new().copy_data(b"a\tb\n").copy_data(b"c\td\ne\t").copy_data(b"f\n");
    let end = |messages| Turn { messages, until: b'Z', count: 1 };
    let copy = "COPY notes FROM STDIN";
    vec![
        spoken("COPY out", vec![query("COPY (SELECT org(), generate_series(1, 3)) TO STDOUT")]),
        Conversation {
            name: "COPY in",
            turns: vec![
                into(copy),
                end(data.clone().copy_done()),
                end(Frontend::new().query("SELECT org()")),
            ],
            is_plain: true,
        },
        Conversation {
            name: "COPY in that the client gives up",
            turns: vec![into(copy), end(data.clone().copy_fail("enough"))],
            is_plain: true,
        },
        Conversation {
            name: "COPY in that the server refuses",
            turns: vec![into(copy), end(Frontend::new().copy_data(b"1\t2\t3\t4\n").copy_done())],
            is_plain: true,
        },
        spoken(
            "COPY in with all its data in one write",
            vec![(Frontend::new().query(copy).raw(data.bytes()).copy_done(), 1)],
        ),
        spoken("COPY in as a batch", vec![(run(copy).raw(data.bytes()).copy_done().sync(), 1)]),
    ]
}

/// What pgwarden answers by itself, in between.
fn own_answers() -> Vec<Conversation> {
    let refused = run("SELECT 1").raw(run("SELECT 'forbidden'").bytes()).raw(run("SELECT 2").bytes()).sync();
    let mixed = Frontend::new().query("SELECT org()").query("SELECT 'forbidden'").query("SELECT who()");
    let mut own = vec![
        spoken(
            "refusals",
            vec![query("SELECT 'forbidden'"), (mixed, 3), (refused.raw(run("SELECT 3").sync().bytes()), 2)],
        ),
        spoken(
            "a refusal in a block",
            vec![query("BEGIN"), query("SELECT 'forbidden'"), query("SELECT 1"), query("ROLLBACK")],
        ),
        spoken(
            "a text that is looked at elsewhere",
            vec![query("SELECT 'question'"), (run("SELECT 'question'").sync(), 1)],
        ),
        spoken(
            "an answer behind a description",
            vec![
                (Frontend::new().parse("s", "SELECT org()", &[]).sync(), 1),
                (run("SELECT 1 AS one, org(), who()").describe_portal("").close_statement("s").sync(), 1),
            ],
        ),
        spoken("Sync alone", vec![(Frontend::new().sync(), 1), (Frontend::new().flush().sync(), 1)]),
        spoken(
            "everything dropped",
            vec![
                (Frontend::new().parse("s", "SELECT org()", &[]).sync(), 1),
                query("DEALLOCATE ALL"),
                (Frontend::new().bind("", "s", &[]).execute("", 0).sync(), 1),
                query("DISCARD ALL"),
                query("SELECT org()"),
            ],
        ),
    ];
    for conversation in &mut own[..3] {
        conversation.is_plain = false;
    }
    own
}

/// Results of which the rest does not reach the client, because the onlooker says so: in a short row, and in one that is
/// looked at before all of it is there.
fn cut_off() -> Vec<Conversation> {
    let short = "SELECT v FROM (VALUES ('first'), ('cut here'), ('third')) t (v)";
    let long = "SELECT repeat('x', 86) || 'cut here' || repeat('y', 20) FROM generate_series(1, 2)";
    let mut conversations = vec![
        spoken("a result that is cut off", vec![query(short), query(long), query("SELECT org()")]),
        spoken(
            "a result that is cut off in a block",
            vec![query("BEGIN"), query(long), query("SELECT 1"), query("ROLLBACK"), query("SELECT org()")],
        ),
        spoken(
            "a batch that is cut off",
            vec![
                (run(short).sync(), 1),
                (run("BEGIN").raw(run(long).bytes()).sync(), 1),
                query("SELECT 1"),
                query("COMMIT"),
            ],
        ),
    ];
    conversations.iter_mut().for_each(|conversation| conversation.is_plain = false);
    conversations
}

/// Rows, parameters and data of many kilobytes.
pub fn long() -> Conversation {
    let data = b"0123456789abcdef\tfedcba9876543210\n".repeat(300);
    let rows = Frontend::new().query("SELECT repeat('x', 700 * n) FROM generate_series(1, 12) n");
    let value = "y".repeat(9_000);
    let parameter =
        Frontend::new().parse("", "SELECT $1", &[25]).bind("", "", &[Some(&value)]).execute("", 0).sync();
    let copy = Frontend::new().query("COPY notes FROM STDIN").copy_data(&data).copy_data(b"").copy_done();
    spoken("large rows", vec![(rows, 1), (parameter, 1), (copy, 1)])
}
