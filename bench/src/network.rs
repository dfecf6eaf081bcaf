//! An added network round trip, on the client's side.
//!
//! The runtime's timer ticks in milliseconds, too coarse for the 0.5 ms of a data-centre network; here a thread sleeps
//! instead. Every delay is equal, so first come is first due and a queue is all it needs.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::Result;

type Crossing = (Instant, oneshot::Sender<()>);

/// The network between the clients and whatever they connect to.
#[derive(Debug)]
pub struct Network {
    rtt: Duration,
    crossings: Option<mpsc::Sender<Crossing>>,
}

impl Network {
    /// A network with this round trip; zero costs nothing and starts no thread.
    pub fn new(rtt: Duration) -> Self {
        if rtt.is_zero() {
            return Self { rtt, crossings: None };
        }
        let (sender, receiver) = mpsc::channel::<Crossing>();
        thread::spawn(move || {
            for (due, arrived) in receiver {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                // The client may have been dropped meanwhile.
                let _ = arrived.send(());
            }
        });
        Self { rtt, crossings: Some(sender) }
    }

    /// Waits for one round trip.
    pub async fn cross(&self) -> Result<()> {
        if let Some(crossings) = &self.crossings {
            let (arrived, arrival) = oneshot::channel();
            crossings.send((Instant::now() + self.rtt, arrived))?;
            arrival.await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crossing_takes_at_least_the_round_trip() {
        let network = Network::new(Duration::from_micros(500));
        let start = Instant::now();
        network.cross().await.unwrap();
        assert!(start.elapsed() >= Duration::from_micros(500));
    }
}
