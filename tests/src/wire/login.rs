//! Logging in: cleartext, md5 and SCRAM, as the server asks.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use super::frontend::PROTOCOL_3_0;
use super::{Frontend, Message, Wire};

impl Wire {
    /// Sends a Startup of protocol 3.0; the answers are the caller's to receive.
    #[track_caller]
    pub fn startup(&mut self, parameters: &[(&str, &str)]) {
        self.send(&Frontend::new().startup(PROTOCOL_3_0, parameters));
    }

    /// Startup and authentication up to ReadyForQuery; panics with the server's error.
    #[track_caller]
    pub fn log_in(&mut self, user: &str, password: &str, database: &str) {
        if let Err(error) = self.try_log_in(password, &[("user", user), ("database", database)]) {
            panic!("{user} cannot log in: {error:?}");
        }
    }

    /// Startup with these parameters and authentication: everything up to ReadyForQuery, or the error.
    #[track_caller]
    pub fn try_log_in(
        &mut self,
        password: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<Message>, Message> {
        self.startup(parameters);
        let user = parameters.iter().find(|(name, _)| *name == "user").map_or("", |(_, user)| user);
        self.authenticate(user, password)
    }

    /// Answers what the server asks: everything up to ReadyForQuery, or the error.
    #[track_caller]
    pub fn authenticate(&mut self, user: &str, password: &str) -> Result<Vec<Message>, Message> {
        let mut scram = None;
        let mut messages = Vec::new();
        loop {
            let message = self.receive();
            match message.tag {
                b'E' => return Err(message),
                b'R' => self.answer(&message.body, user, password, &mut scram),
                _ => {}
            }
            let ready = message.tag == b'Z';
            messages.push(message);
            if ready {
                return Ok(messages);
            }
        }
    }

    #[track_caller]
    fn answer(&mut self, request: &[u8], user: &str, password: &str, scram: &mut Option<ScramSha256>) {
        let (kind, data) = request.split_first_chunk().expect("an authentication request has a kind");
        match (u32::from_be_bytes(*kind), scram.as_mut()) {
            (0, _) => {}
            (3, _) => self.send(&Frontend::new().password(password)),
            (5, _) => {
                let salt = data.try_into().expect("a salt of four bytes");
                self.send(&Frontend::new().password(&md5_hash(user.as_bytes(), password.as_bytes(), salt)));
            }
            (10, _) => {
                let exchange =
                    scram.insert(ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported()));
                self.send(&Frontend::new().sasl_initial(SCRAM_SHA_256, exchange.message()));
            }
            (11, Some(exchange)) => {
                exchange.update(data).expect("the server's challenge is well-formed");
                self.send(&Frontend::new().sasl(exchange.message()));
            }
            (12, Some(exchange)) => exchange.finish(data).expect("the server knows the password as well"),
            (kind, _) => panic!("authentication request {kind} is not one that tests answer"),
        }
    }
}
