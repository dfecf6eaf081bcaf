//! A bare TCP relay: what any proxy costs at least, because it reads and writes every byte once and looks at none.
//!
//! It runs as a process of its own so that its CPU can be told from the load generator's.

use std::net::SocketAddr;

use clap::Args;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

/// Bytes buffered per direction and connection.
const BUFFER: usize = 16 * 1024;

/// Where the relay listens and what it connects to.
#[derive(Args, Debug)]
pub struct RelayArguments {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Address to connect to, once per client.
    pub upstream: SocketAddr,
}

/// Forwards connections until the process is stopped.
pub async fn run(arguments: RelayArguments) -> Result<()> {
    let listener = TcpListener::bind(arguments.listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(forward(client, arguments.upstream));
    }
}

/// Forwards one connection; an I/O error ends it, and the client sees the end.
async fn forward(mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
    Ok(())
}
