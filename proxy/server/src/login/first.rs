//! The first packets of a connection: encryption requests, a cancel, or the start of a session.

use crate::app::App;
use crate::cancel::ClientKey;
use crate::login::Denied;
use crate::meters::{HandshakeOutcome, LoginOutcome, Side};
use crate::packet;
use crate::stream::{Encrypted, Stream};
use crate::tls::Acceptor;
use pgwarden_config::TlsMode;
use pgwarden_session::Refusal;
use pgwarden_wire::{First, FirstError, Startup, first_packet, first_packet_length};
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

/// What a TLS connection begins with (RFC 8446, record type "handshake").
const TLS_HANDSHAKE: u8 = 0x16;

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Request {
    /// A session, on a stream that is encrypted if it is going to be.
    Session(Stream, Startup),
    /// Something that runs is to be cancelled; the client waits until the connection is closed.
    Cancel(Stream, ClientKey),
}

/// A connection that is not served, with the stream on which it can still be told why.
#[derive(Debug)]
pub(super) struct Rejected(pub(super) Option<Stream>, pub(super) Denied);

/// Reads first packets until one says what the connection is for. Not cancel safe.
pub(super) async fn read(stream: Stream, app: &App) -> Result<Request, Rejected> {
    let mut stream = direct_tls(stream, app).await?;
    let encrypted = matches!(stream, Stream::Tls(_));
    let (mut asked_tls, mut asked_gss) = (encrypted, encrypted);
    loop {
        match packet_of(&mut stream).await {
            Ok(First::Cancel { pid, secret }) => {
                return Ok(Request::Cancel(stream, ClientKey { pid, secret }));
            }
            Ok(First::Startup(_))
                if app.settings.tls.mode == TlsMode::Require && matches!(stream, Stream::Tcp(_)) =>
            {
                return Err(Rejected(Some(stream), in_clear()));
            }
            Ok(First::Startup(startup)) => return Ok(Request::Session(stream, startup)),
            Ok(First::Gss) if !asked_gss => {
                stream = answer(stream, b"N").await?;
                asked_gss = true;
            }
            Ok(First::Ssl) if !asked_tls => {
                stream = ssl_request(stream, app).await?;
                (asked_tls, asked_gss) = (true, asked_gss || matches!(stream, Stream::Tls(_)));
            }
            Ok(First::Gss | First::Ssl) => {
                let denied = Denied::protocol("08P01", "encryption was already negotiated");
                return Err(Rejected(Some(stream), denied));
            }
            Err(denied) => return Err(Rejected(Some(stream), denied)),
        }
    }
}

/// PostgreSQL 17 clients may begin with TLS at once (`sslnegotiation=direct`).
async fn direct_tls(stream: Stream, app: &App) -> Result<Stream, Rejected> {
    let Stream::Tcp(socket) = stream else { return Ok(stream) };
    let Some(acceptor) = &app.acceptor else { return Ok(Stream::Tcp(socket)) };
    let mut first = [0];
    match socket.peek(&mut first).await {
        Ok(1) if first == [TLS_HANDSHAKE] => handshake(socket, &acceptor.for_direct, acceptor, app).await,
        _ => Ok(Stream::Tcp(socket)),
    }
}

/// Answers SSLRequest. Exactly its eight bytes were read, so what a client sent behind it in the clear can only be
/// taken for TLS, and fails (CVE-2021-23214).
async fn ssl_request(stream: Stream, app: &App) -> Result<Stream, Rejected> {
    match (stream, &app.acceptor) {
        (Stream::Tcp(mut socket), Some(acceptor)) => {
            let written = tokio::io::AsyncWriteExt::write_all(&mut socket, b"S").await;
            written.map_err(|_| Rejected(None, Denied::Silent))?;
            handshake(socket, &acceptor.for_ssl_request, acceptor, app).await
        }
        (stream, _) => answer(stream, b"N").await,
    }
}

async fn handshake(
    socket: TcpStream,
    config: &Arc<ServerConfig>,
    acceptor: &Acceptor,
    app: &App,
) -> Result<Stream, Rejected> {
    let started = Instant::now();
    match TlsAcceptor::from(Arc::clone(config)).accept(socket).await {
        Ok(stream) => {
            app.meters.tls_handshake(Side::Client, HandshakeOutcome::Ok);
            app.meters.timings.tls_handshake.record(started.elapsed());
            let (stream, binding) = (TlsStream::Server(stream), acceptor.binding.clone());
            Ok(Stream::Tls(Box::new(Encrypted { stream, binding })))
        }
        Err(error) => {
            app.meters.tls_handshake(Side::Client, HandshakeOutcome::Failed);
            tracing::info!(%error, "TLS handshake failed");
            Err(Rejected(None, Denied::Silent))
        }
    }
}

async fn answer(stream: Stream, byte: &[u8]) -> Result<Stream, Rejected> {
    let mut stream = stream;
    packet::write(&mut stream, byte).await.map_err(|_| Rejected(None, Denied::Silent))?;
    Ok(stream)
}

async fn packet_of(stream: &mut Stream) -> Result<First, Denied> {
    let mut field = [0; 4];
    stream.read_exact(&mut field).await?;
    let length = first_packet_length(field).map_err(denied)?;
    let mut bytes = vec![0; length - 4];
    stream.read_exact(&mut bytes).await?;
    first_packet(&bytes).map_err(denied)
}

fn denied(error: FirstError) -> Denied {
    match error {
        FirstError::Version { .. } => {
            Denied::Refused(Refusal::new("0A000", error.to_string(), "", ""), LoginOutcome::RefusedFeature)
        }
        FirstError::Length | FirstError::Layout | FirstError::Encoding => {
            Denied::protocol("08P01", error.to_string())
        }
    }
}

fn in_clear() -> Denied {
    let refusal = Refusal::new(
        "28000",
        "the connection is not encrypted, and this server requires TLS",
        "",
        "Connect with sslmode=require, or a stricter one.",
    );
    Denied::Refused(refusal, LoginOutcome::RefusedFeature)
}
