//! What an overseer made of the columns that a client was told, kept beside the statement's name; and what a Bind says of
//! the result at its end.

use crate::overseer::{Description, Formats};
use pgwarden_wire::Fields;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What one client was told of the columns of one statement. Executions that are on their way when it is told see it too.
#[derive(Default)]
pub(crate) struct Told(Mutex<Option<Description>>);

impl Told {
    pub(crate) fn columns(&self) -> Option<Description> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn tell(&self, description: Option<Description>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = description;
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.columns().is_some() { "Told(…)" } else { "Told(nothing)" })
    }
}

/// What an overseer may ask about a portal.
#[derive(Debug)]
pub(crate) struct Overseen {
    /// What follows the names in Bind.
    pub(crate) values: Option<Arc<[u8]>>,
    pub(crate) formats: Formats,
    pub(crate) told: Arc<Told>,
}

/// The formats of the result's columns, which stand behind the values; `None` where the message is malformed.
pub(super) fn result_formats(rest: &[u8]) -> Option<Formats> {
    let mut fields = Fields::new(rest);
    let formats = count(&mut fields)?;
    fields.bytes(formats * size_of::<i16>()).ok()?;
    for _ in 0..count(&mut fields)? {
        if let Ok(length) = usize::try_from(fields.int32().ok()?) {
            fields.bytes(length).ok()?;
        }
    }
    let formats = count(&mut fields)?;
    let formats = (0..formats).map(|_| fields.int16().ok()).collect::<Option<Box<[i16]>>>()?;
    fields.end().ok()?;
    Some(Formats::Given(formats))
}

fn count(fields: &mut Fields<'_>) -> Option<usize> {
    usize::try_from(fields.int16().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_of_the_result_stand_behind_the_values() {
        let rest = b"\0\x01\0\0\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x02\0\x01\0\0";
        assert_eq!(result_formats(rest), Some(Formats::Given(Box::new([1, 0]))));
        assert_eq!(result_formats(b"\0\0\0\0\0\0"), Some(Formats::Given(Box::new([]))));
        for cut in 0..rest.len() {
            assert_eq!(result_formats(&rest[..cut]), None, "cut at {cut}");
        }
        assert_eq!(result_formats(b"\0\0\0\0\0\0!"), None);
        assert_eq!(result_formats(b"\0\0\xff\xff\0\0"), None);
    }
}
