use super::*;

fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).expect("short");
    [&[tag], length.to_be_bytes().as_slice(), payload].concat()
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

fn execute(portal: &str) -> Vec<u8> {
    message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

fn sent(witness: &mut Witness, bytes: &[u8]) -> Vec<Observation> {
    let mut told = Vec::new();
    witness.client_sent(bytes, &mut |one| told.push(one));
    told
}

fn text(text: &str) -> Observation {
    Observation::Text(text.as_bytes().into())
}

#[test]
fn a_text_is_told_when_it_is_sent_to_be_run_and_once() {
    let mut witness = Witness::default();
    assert_eq!(sent(&mut witness, &message(b'Q', b"SELECT 1\0")), [text("SELECT 1")]);
    assert_eq!(sent(&mut witness, &parse("a", "SELECT 2")), [], "it is only prepared");
    assert_eq!(sent(&mut witness, &bind("", "a")), []);
    assert_eq!(sent(&mut witness, &execute("")), [text("SELECT 2")]);
    assert_eq!(sent(&mut witness, &execute("")), [], "known");
    assert_eq!(sent(&mut witness, &message(b'Q', b"SELECT 1\0")), [], "known");
}

#[test]
fn what_nobody_knows_is_told_as_unread() {
    let mut witness = Witness::default();
    assert_eq!(sent(&mut witness, &execute("never")), [Observation::Unread]);
    assert_eq!(sent(&mut witness, &message(b'F', b"\0\0\0\x01")), [Observation::Unread]);
    let long = "x".repeat(MAX_PARSE_BYTES + 1);
    assert_eq!(sent(&mut witness, &message(b'Q', format!("{long}\0").as_bytes())), [Observation::Unread]);
    let longer = "x".repeat(KEPT_OF_CLIENT * 2);
    for text in [long, longer] {
        let batch = [parse("", &text), bind("", ""), execute("")].concat();
        assert_eq!(sent(&mut witness, &batch), [Observation::Unread]);
    }
    let closed = [parse("s", "SELECT 1"), message(b'C', b"Ss\0"), bind("", "s"), execute("")].concat();
    assert_eq!(sent(&mut witness, &closed), [Observation::Unread]);
}

#[test]
fn commands_errors_and_transactions_are_told_from_the_replies() {
    let mut told = Vec::new();
    let mut witness = Witness::default();
    for bytes in [
        message(b'Z', b"I"),
        message(b'C', b"BEGIN\0"),
        message(b'Z', b"T"),
        message(b'C', b"INSERT 0 5\0"),
        message(b'C', b"CREATE TABLE\0"),
        message(b'E', b"SERROR\0\0"),
        message(b'Z', b"E"),
        message(b'C', b"ROLLBACK\0"),
        message(b'Z', b"I"),
        message(b'V', b"\xff\xff\xff\xff"),
        message(b'Z', b"I"),
        message(b'Z', b"I"),
    ] {
        witness.client_reads(&bytes, &mut |one| told.push(one));
    }
    let command = |tag: &str| Observation::Command(tag.to_owned());
    let expected = [
        command("BEGIN"),
        command("INSERT"),
        command("CREATE TABLE"),
        Observation::Error,
        command("ROLLBACK"),
        Observation::Transaction,
        command("FUNCTION CALL"),
        Observation::Transaction,
    ];
    assert_eq!(told, expected);
}
