//! The fields of a line for people, with nothing in them that could pass for another line.
//!
//! Fields hold what clients and servers said: names, error messages. A line break in one would begin a line of its
//! own, an escape sequence would change what a terminal shows, and marks of direction would reorder it.

use std::fmt;

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// Writes fields as usual, but escaped, and without colours.
pub(super) struct EscapedFields;

impl<'writer> FormatFields<'writer> for EscapedFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        for character in text.chars() {
            match is_harmless(character) {
                true => writer.write_char(character)?,
                false => write!(writer, "{}", character.escape_default())?,
            }
        }
        Ok(())
    }
}

/// Neither a control character, nor a line break of Unicode, nor a mark that changes the direction of writing.
fn is_harmless(character: char) -> bool {
    let misleads =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !misleads
}
