//! A client that a load balancer brings: whose address it is, says the header in front.

use crate::app::App;
use crate::stream::{Peer, Stream};
use pgwarden_wire::{PROXY_HEADER, ProxyError, ProxySource, proxy_head, proxy_source};
use std::io;
use thiserror::Error;
use tokio::io::AsyncReadExt;

/// Why a load balancer's connection is closed.
#[derive(Debug, Error)]
pub(super) enum Unproxied {
    /// It hung up.
    #[error("the connection ended before the PROXY protocol header did")]
    Io(#[from] io::Error),
    /// It sent something else.
    #[error(transparent)]
    Header(#[from] ProxyError),
}

/// Who the client is. Those whom `proxy_protocol` names bring a header; nobody else's is ever looked for.
///
/// Reads exactly the header. Not cancel safe.
///
/// # Errors
/// [`Unproxied`] when there is none.
pub(super) async fn client(stream: &mut Stream, peer: Peer, app: &App) -> Result<Peer, Unproxied> {
    let brings_header = app.settings.proxy_protocol.iter().any(|neighbour| neighbour.is(peer.address()));
    if !brings_header {
        return Ok(peer);
    }
    let mut head = [0; PROXY_HEADER];
    stream.read_exact(&mut head).await?;
    let head = proxy_head(&head)?;
    let mut rest = vec![0; head.length];
    stream.read_exact(&mut rest).await?;
    Ok(match proxy_source(head, &rest)? {
        ProxySource::Itself => peer,
        ProxySource::Address(address) => Peer::Address(address),
        ProxySource::Unix => Peer::Local,
    })
}
