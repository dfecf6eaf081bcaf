//! What lines look like, and that nothing waits for whoever reads them.

use std::sync::mpsc;

use super::*;

const LONG: Duration = Duration::from_secs(30);

/// A sink that hands over what it gets, or refuses it when nobody listens any more.
struct Sink(mpsc::Sender<Vec<u8>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What one event looks like.
fn line(format: LogFormat, level: &str) -> String {
    let queue = Arc::new(Queue::default());
    let targets: Targets = level.parse().unwrap();
    let layer = layer(format, Colours(false), Lines(Arc::clone(&queue))).with_filter(targets);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!(count = 2, "clients connected");
        tracing::debug!("not at this level");
    });
    String::from_utf8(std::mem::take(&mut queue.lock().bytes)).unwrap()
}

#[test]
fn a_json_line_is_one_object_with_the_fields_of_the_event() {
    let line = line(LogFormat::Json, "info");
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["message"], "clients connected");
    assert_eq!(object["count"], 2);
    assert_eq!(object["level"], "INFO");
}

#[test]
fn a_pretty_line_has_no_escapes_where_there_is_no_terminal() {
    let line = line(LogFormat::Pretty, "info");
    assert!(line.ends_with("clients connected count=2\n"), "{line:?}");
    assert!(!line.contains('\u{1b}'), "{line:?}");
    assert_eq!(line.matches('\n').count(), 1);
}

/// What an event looks like that holds this text, written with the least care.
fn line_about(format: LogFormat, colours: Colours, text: &str) -> String {
    let queue = Arc::new(Queue::default());
    let layer = layer(format, colours, Lines(Arc::clone(&queue)));
    let error = io::Error::other(text);
    let error: &dyn std::error::Error = &error;
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!(database = %text, error, "{text}");
    });
    String::from_utf8(std::mem::take(&mut queue.lock().bytes)).unwrap()
}

const FORGED: [&str; 10] =
    ["\n", "\r", "\r\n", "\u{85}", "\u{2028}", "\u{1b}[2K", "\u{9b}31m", "\u{202e}", "\u{2066}", "\0"];

#[test]
fn no_text_begins_a_line_or_changes_what_a_terminal_shows() {
    for forged in FORGED {
        let text = format!("é x{forged}2026-01-01T00:00:00Z ERROR");
        let line = line_about(LogFormat::Pretty, Colours(false), &text);
        let content = line.strip_suffix('\n').unwrap();
        assert!(!content.contains(forged) && !content.contains(char::is_control), "{forged:?}: {line:?}");
        assert_eq!(content.matches("é x").count(), 3, "{line:?}");
        let escapes = |line: &str| line.matches('\u{1b}').count();
        let coloured = line_about(LogFormat::Pretty, Colours(true), &text);
        assert_eq!(
            escapes(&coloured),
            escapes(&line_about(LogFormat::Pretty, Colours(true), "x")),
            "{coloured:?}"
        );
    }
}

#[test]
fn json_holds_any_text_in_one_line() {
    for forged in FORGED {
        let line = line_about(LogFormat::Json, Colours(false), forged);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((object["database"].as_str(), line.lines().count()), (Some(forged), 1), "{line:?}");
    }
}

#[test]
fn directives_go_by_target() {
    assert!(line(LogFormat::Json, "off").is_empty());
    assert!(line(LogFormat::Json, "info,pgwarden=off").is_empty());
    assert!(line(LogFormat::Json, "off,pgwarden::logging=debug").contains("not at this level"));
}

#[test]
fn a_sink_that_fails_harms_nobody() {
    let queue = Arc::new(Queue::default());
    let (sink, closed) = mpsc::channel();
    drop(closed);
    let writer = Arc::clone(&queue);
    thread::spawn(move || writer.write_to(Sink(sink)));
    for _ in 0..3 {
        Lines(Arc::clone(&queue)).write_all(b"line\n").unwrap();
        queue.flush(LONG);
    }
    assert!(queue.lock().bytes.is_empty());
}

#[test]
fn a_sink_that_nobody_reads_costs_lines_and_not_time() {
    let queue = Arc::new(Queue::default());
    let line = vec![b'x'; QUEUE_BYTES / 4];
    for _ in 0..6 {
        Lines(Arc::clone(&queue)).write_all(&line).unwrap();
    }
    assert_eq!(queue.lock().lost, 2);
    let (bytes, lost) = queue.take();
    assert_eq!((bytes.len(), lost), (QUEUE_BYTES, 2));
}

#[test]
fn what_was_logged_is_written_before_the_end() {
    let queue = Arc::new(Queue::default());
    let (sink, written) = mpsc::channel();
    let writer = Arc::clone(&queue);
    thread::spawn(move || writer.write_to(Sink(sink)));
    queue.push(b"last words\n");
    drop(Logging(queue));
    assert_eq!(written.try_recv().unwrap(), b"last words\n");
}
