//! Records of the trail as messages of RFC 5424.
//!
//! ```text
//! <134>1 2026-11-21T22:15:41.123456Z db-proxy pgwarden - rows_foreign [origin software="pgwarden" swVersion="0.1.0"][meta sequenceId="7"] {"v":1,…}
//! ```
//! The message is the line of the trail, letter by letter, without a byte order mark: what reads JSON does not expect one.

use crate::sinks::entry::Entry;
use pgwarden_config::Facility;
use std::fmt::Write;

/// The longest host name and message id (RFC 5424, 6).
const LONGEST_HOST: usize = 255;
const LONGEST_ID: usize = 32;
/// `sequenceId` begins anew behind this (RFC 5424, 7.3.1).
const LAST_SEQUENCE: u64 = 2_147_483_647;

/// One message.
pub(super) fn message(entry: &Entry, facility: Facility, host: &str) -> String {
    let priority = u32::from(facility.code()) * 8 + severity(entry.text_at("/severity"));
    let time = Some(entry.text_at("/time")).filter(|_| entry.micros().is_some()).unwrap_or("-");
    let (host, kind) = (word(host, LONGEST_HOST), word(entry.text_at("/kind"), LONGEST_ID));
    let version = quoted(entry.text_at("/proxy/version"));
    let sequence = entry.seq.saturating_sub(1) % LAST_SEQUENCE + 1;
    let mut text = String::with_capacity(entry.text.len() + 200);
    let _infallible = write!(
        text,
        "<{priority}>1 {time} {host} pgwarden - {kind} [origin software=\"pgwarden\" swVersion=\"{version}\"]\
         [meta sequenceId=\"{sequence}\"] {}",
        entry.text
    );
    text
}

/// Error, warning and informational (RFC 5424, 6.2.1).
fn severity(word: &str) -> u32 {
    match word {
        "blocker" => 3,
        "warning" => 4,
        _ => 6,
    }
}

/// A field of the header: printable ASCII without a space; `-` where nothing is left.
fn word(text: &str, longest: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// The value of a parameter (RFC 5424, 6.3.3).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars().filter(|character| !character.is_control()).take(LONGEST_ID) {
        if matches!(character, '"' | '\\' | ']') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_message_with_its_line_as_it_is() {
        let line = r#"{"seq":2147483648,"time":"2026-11-21T22:15:41.123456Z","kind":"rows_foreign","severity":"blocker","proxy":{"version":"0.1\"]"}}"#;
        let entry = Entry::read(line.as_bytes()).expect("a record");
        assert_eq!(
            message(&entry, Facility::Local0, "db proxy"),
            format!(
                "<131>1 2026-11-21T22:15:41.123456Z dbproxy pgwarden - rows_foreign \
                 [origin software=\"pgwarden\" swVersion=\"0.1\\\"\\]\"][meta sequenceId=\"1\"] {line}"
            )
        );
        let bare = Entry::read(br#"{"seq":1,"time":"yesterday"}"#).expect("a record");
        assert!(message(&bare, Facility::Audit, "é").starts_with("<110>1 - - pgwarden - - [origin "));
    }
}
