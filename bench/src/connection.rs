//! One client connection: bytes out, one reply in.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::Result;
use crate::encryption::{Stream, Transport};
use crate::frames::{self, Reply};
use crate::schema;

/// Bytes read at once; a 1,000-row result fits.
const BUFFER: usize = 64 * 1024;

/// Where and as whom to log in.
#[derive(Clone, Debug)]
pub struct Login {
    /// The server's or proxy's address.
    pub address: SocketAddr,
    /// The role; every login is trusted.
    pub user: &'static str,
    /// The database.
    pub database: &'static str,
    /// Whether the connection is encrypted.
    pub transport: Transport,
}

impl Login {
    /// A login to the database under test, in clear text.
    pub fn new(address: SocketAddr, user: &'static str) -> Self {
        Self { address, user, database: schema::DATABASE, transport: Transport::Plain }
    }
}

/// A connection that has been let in, and is idle between calls.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold data.
    filled: usize,
    /// Bytes of `buffer` that have been scanned.
    scanned: usize,
    reply: Reply,
}

impl Connection {
    /// Connects and logs in.
    pub async fn open(login: &Login) -> Result<Self> {
        let stream = TcpStream::connect(login.address).await?;
        stream.set_nodelay(true)?;
        let stream = login.transport.establish(stream).await?;
        let buffer = vec![0; BUFFER];
        let mut connection = Self { stream, buffer, filled: 0, scanned: 0, reply: Reply::default() };
        let mut startup = Vec::new();
        frames::startup(&mut startup, login.user, login.database);
        connection.round_trip(&startup).await?;
        Ok(connection)
    }

    /// Sends `request` in one write and reads up to ReadyForQuery. An ErrorResponse is an error.
    pub async fn round_trip(&mut self, request: &[u8]) -> Result<&Reply> {
        self.stream.send(request).await?;
        self.reply.clear();
        while !frames::scan(&self.buffer[..self.filled], &mut self.scanned, &mut self.reply)? {
            self.fill().await?;
        }
        if self.scanned == self.filled {
            self.scanned = 0;
            self.filled = 0;
        }
        match self.reply.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(&self.reply),
        }
    }

    /// Runs SQL without looking at the result, for set-up.
    pub async fn execute(&mut self, sql: &str) -> Result<()> {
        let mut request = Vec::new();
        frames::query(&mut request, sql);
        self.round_trip(&request).await.map_err(|error| format!("{error}, in: {sql}"))?;
        Ok(())
    }

    /// Says goodbye and waits for the other side to close, so that its end of the connection is gone as well.
    pub async fn close(mut self) -> Result<()> {
        let mut request = Vec::new();
        frames::terminate(&mut request);
        self.stream.send(&request).await?;
        while self.stream.receive(&mut self.buffer).await? > 0 {}
        Ok(())
    }

    /// Reads more bytes behind what is there, after moving an incomplete frame to the front.
    async fn fill(&mut self) -> Result<()> {
        self.buffer.copy_within(self.scanned..self.filled, 0);
        self.filled -= self.scanned;
        self.scanned = 0;
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        let read = self.stream.receive(&mut self.buffer[self.filled..]).await?;
        if read == 0 {
            let why = self.reply.error.take().unwrap_or_else(|| "connection closed in a reply".to_owned());
            return Err(why.into());
        }
        self.filled += read;
        Ok(())
    }
}
