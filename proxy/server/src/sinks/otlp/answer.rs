//! What the answer to a request means.

use super::message::ExportLogsServiceResponse;
use crate::sinks::entry::instant;
use crate::sinks::failure::{Class, Failure};
use prost::Message;
use std::time::Duration;

/// An answer over HTTP.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// `Retry-After`.
    pub(super) after: Option<String>,
    /// `Content-Type`.
    pub(super) kind: Option<String>,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// How many records will not be taken; the clock, in seconds since 1970, is for a receiver that names a date.
    ///
    /// # Errors
    /// [`Failure`] when nothing was taken.
    pub(super) fn outcome(&self, now: u64) -> Result<u64, Failure> {
        let status = self.status;
        let class = match status {
            200..=299 => return self.rejected(),
            // The content, as the receiver sees it; too large a request is split.
            400 | 413 | 415 | 422 => Class::Rejected,
            429 | 500 | 502 | 503 | 504 => Class::Busy,
            300..=399 | 401..=499 => Class::Refused,
            _ => Class::Protocol,
        };
        let after = self.after.as_deref().and_then(|text| pause(text, now));
        Err(Failure::new(class, format!("the answer has status {status}")).after(after))
    }

    /// How many records a successful answer says that were left out.
    fn rejected(&self) -> Result<u64, Failure> {
        // Some receivers answer in JSON all the same, which says that they have taken something.
        if self.kind.as_deref().is_some_and(|kind| !kind.starts_with("application/x-protobuf")) {
            return Ok(0);
        }
        let response = ExportLogsServiceResponse::decode(self.body.as_slice());
        let response = response.map_err(|_| Failure::new(Class::Protocol, "the answer is none of OTLP"))?;
        let partial = response.partial_success.unwrap_or_default();
        Ok(u64::try_from(partial.rejected_log_records).unwrap_or_default())
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn pause(text: &str, now: u64) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(text.trim())?;
    Some(Duration::from_secs(until.saturating_sub(now)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, as seconds since 1970.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.strip_suffix(" GMT")?.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    instant(&format!("{year}-{month:02}-{day}T{time}Z")).map(|micros| micros / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::super::message::ExportLogsPartialSuccess;
    use super::*;

    fn answer(status: u16) -> Answer {
        Answer { status, after: None, kind: Some("application/x-protobuf".to_owned()), body: Vec::new() }
    }

    #[test]
    fn only_the_content_is_given_up() {
        for (status, class) in [
            (400, Class::Rejected),
            (413, Class::Rejected),
            (401, Class::Refused),
            (404, Class::Refused),
            (308, Class::Refused),
            (429, Class::Busy),
            (503, Class::Busy),
            (505, Class::Protocol),
            (100, Class::Protocol),
        ] {
            assert_eq!(answer(status).outcome(0).expect_err("not taken").class, class, "{status}");
        }
    }

    #[test]
    fn a_receiver_says_when_it_wants_to_be_asked_again() {
        let asked = |after: &str| {
            Answer { after: Some(after.to_owned()), ..answer(503) }
                .outcome(784_111_770)
                .expect_err("busy")
                .after
        };
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
    }

    #[test]
    fn a_partial_success_says_how_many_were_left_out() {
        assert_eq!(answer(200).outcome(0).expect("taken"), 0);
        let partial = ExportLogsPartialSuccess { rejected_log_records: 3, error_message: "no".to_owned() };
        let body = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        assert_eq!(Answer { body: body.clone(), ..answer(200) }.outcome(0).expect("taken"), 3);
        assert_eq!(
            Answer { body: vec![0xff], ..answer(200) }.outcome(0).expect_err("none").class,
            Class::Protocol
        );
        let json = Answer { kind: Some("application/json".to_owned()), body: b"{}".to_vec(), ..answer(200) };
        assert_eq!(json.outcome(0).expect("taken"), 0);
    }
}
