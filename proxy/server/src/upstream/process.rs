//! What sealed contexts have to know of a server process; `deploy/sql/seal.sql` compares it.

use crate::clock;
use crate::stream::Stream;
use crate::upstream::error::UpstreamError;
use crate::upstream::login::query;
use pgwarden_session::Process;
use pgwarden_wire::{Fields, Malformed};

/// Functions of pg_catalog alone, not even an operator: whoever has set the login's search_path has no say.
const QUESTION: &[u8] = b"SELECT \
    pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_database(), 'UTF8'), 'hex'), \
    pg_catalog.encode(pg_catalog.int4send(me.pid), 'hex'), \
    pg_catalog.encode(pg_catalog.inet_send(pg_catalog.inet_client_addr()), 'hex'), \
    pg_catalog.encode(pg_catalog.int4send(pg_catalog.inet_client_port()), 'hex'), \
    pg_catalog.encode(pg_catalog.timestamptz_send(me.backend_start), 'hex'), \
    pg_catalog.encode(pg_catalog.timestamptz_send(pg_catalog.clock_timestamp()), 'hex') \
    FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS me";

const READERS: &[u8] = b"SELECT pg_catalog.to_regprocedure('pgwarden.verified_setting(pg_catalog.text)')";

/// Asks the server which of its processes is at the other end, and what the time is.
///
/// # Errors
/// [`UpstreamError`] when it does not say.
pub(super) async fn process_of(stream: &mut Stream) -> Result<Process, UpstreamError> {
    // Asked before the server is: a seal rather lives a little longer than a little shorter.
    let asked = clock::micros();
    let rows = query(stream, QUESTION).await?;
    let row = rows.first().map(|row| read(row)).transpose().ok().flatten();
    let answer = row.and_then(|columns| answer_of(&columns));
    let (identity, time) = answer
        .ok_or_else(|| UpstreamError::Protocol("no answer to the question for its own process".into()))?;
    Ok(Process { identity, ahead: time.saturating_sub(asked) })
}

/// Whether the readers of sealed contexts are in the database.
///
/// # Errors
/// [`UpstreamError`] when the server does not say.
pub(super) async fn has_readers(stream: &mut Stream) -> Result<bool, UpstreamError> {
    let rows = query(stream, READERS).await?;
    let row = rows.first().map(|row| read(row)).transpose().ok().flatten();
    Ok(row.is_some_and(|columns| columns.iter().all(Option::is_some)))
}

/// The database, the process, and its place: either end of its TCP connection, or else when it began. Then the time.
fn answer_of(columns: &[Option<Vec<u8>>]) -> Option<(Vec<u8>, i64)> {
    let [Some(database), Some(pid), address, port, start, Some(time)] = columns else { return None };
    let place = match (address, port, start) {
        (Some(address), Some(port), _) => [address.as_slice(), port].concat(),
        (_, _, Some(start)) => start.clone(),
        _ => return None,
    };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let identity = [&length(database), database.as_slice(), pid, &length(&place), &place].concat();
    Some((identity, i64::from_be_bytes(time.as_slice().try_into().ok()?)))
}

/// The columns of a DataRow, hexadecimal digits in text; what is something else reads as empty.
fn read(row: &[u8]) -> Result<Vec<Option<Vec<u8>>>, Malformed> {
    let mut fields = Fields::new(row);
    let count = u16::from_be_bytes(fields.array()?);
    (0..count)
        .map(|_| {
            let length = fields.int32()?;
            let Ok(length) = usize::try_from(length) else { return Ok(None) };
            fields.bytes(length).map(|digits| Some(bytes_of(digits)))
        })
        .collect()
}

fn bytes_of(digits: &[u8]) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }

    #[test]
    fn a_tcp_connection_is_told_by_its_clients_end_and_a_unix_socket_by_the_start_of_the_process() {
        let (pid, time) = ([0, 0, 0, 7], [0, 0, 0, 0, 0, 0, 1, 0]);
        let tcp = [some(b"d"), some(&pid), some(b"addr"), some(b"port"), some(b"start"), some(&time)];
        let unix = [some(b"d"), some(&pid), None, None, some(b"start"), some(&time)];
        let unseen = [some(b"d"), some(&pid), None, None, None, some(&time)];
        let identity = |place: &[u8]| [b"\0\0\0\x01d\0\0\0\x07\0\0\0", place].concat();
        assert_eq!(answer_of(&tcp), Some((identity(b"\x08addrport"), 256)));
        assert_eq!(answer_of(&unix), Some((identity(b"\x05start"), 256)));
        assert_eq!(answer_of(&unseen), None);
    }

    #[test]
    fn columns_are_read_from_hexadecimal_digits() {
        let row = b"\0\x03\0\0\0\x040aff\xff\xff\xff\xff\0\0\0\x02zz";
        assert_eq!(read(row).ok(), Some(vec![some(&[10, 255]), None, some(b"")]));
    }
}
