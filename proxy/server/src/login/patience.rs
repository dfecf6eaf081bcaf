//! A client that waits until it can be let in: what it sends meanwhile is kept, and it is noticed that it hangs up.

use crate::login::Denied;
use crate::stream::Stream;
use std::future::pending;
use tokio::io::AsyncReadExt;

/// Only so much is read ahead, in bytes.
const READ_AHEAD: usize = 64 * 1024;

/// Ends with `work`, and what the client has sent ahead.
///
/// # Errors
/// Those of `work`; [`Denied::Silent`] when the client hangs up before.
pub(super) async fn meanwhile<R>(
    stream: &mut Stream,
    work: impl Future<Output = Result<R, Denied>>,
) -> Result<(R, Vec<u8>), Denied> {
    let mut ahead = Vec::new();
    let result = tokio::select! {
        biased;
        result = work => result?,
        () = hung_up(stream, &mut ahead) => return Err(Denied::Silent),
    };
    Ok((result, ahead))
}

/// Ends when the client hangs up. Cancel safe.
async fn hung_up(stream: &mut Stream, ahead: &mut Vec<u8>) {
    while ahead.len() < READ_AHEAD {
        if !matches!(stream.read_buf(ahead).await, Ok(1..)) {
            return;
        }
    }
    pending::<()>().await;
}
