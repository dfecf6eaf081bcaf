//! SCRAM in both roles: an exchange with up to one message replaced or changed by the input.

use std::num::NonZeroU32;

use pgwarden_auth::scram::{ChannelBinding, Mechanism, ScramServer};
use pgwarden_auth::scram_client::{ScramClient, ScramLogin, ScramStep, ServerMessage};
use pgwarden_auth::secret::{ScramVerifier, Secret};
use zeroize::Zeroizing;

use crate::choices::Choices;

/// The messages of an exchange in their order.
const STEPS: usize = 4;

/// What the input does to a message.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    Replace,
    Flip,
    Cut,
    Append,
}

/// A neighbour on the wire.
struct Meddler<'a> {
    change: Change,
    step: usize,
    place: u8,
    data: &'a [u8],
    has_changed: bool,
}

impl Meddler<'_> {
    fn pass(&mut self, step: usize, message: Vec<u8>) -> Vec<u8> {
        if step != self.step {
            return message;
        }
        let at = usize::from(self.place) % message.len().max(1);
        let changed = match self.change {
            Change::Nothing => message.clone(),
            Change::Replace => self.data.to_vec(),
            Change::Flip => {
                let mut changed = message.clone();
                let mask = self.data.first().copied().unwrap_or(1);
                changed.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
                changed
            }
            Change::Cut => message.iter().copied().take(at).collect(),
            Change::Append => [message.as_slice(), self.data].concat(),
        };
        self.has_changed |= changed != message;
        changed
    }
}

pub(crate) fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let change =
        choices.one_of(&[Change::Nothing, Change::Replace, Change::Flip, Change::Cut, Change::Append]);
    let (step, place) = (usize::from(choices.byte()) % STEPS, choices.byte());
    let bound = choices.byte().is_multiple_of(2);
    let mut meddler = Meddler { change, step, place, data: choices.rest(), has_changed: false };
    let ended_well = exchange(&mut meddler, bound);
    assert_eq!(ended_well, !meddler.has_changed, "only the honest exchange ends well");
}

/// Whether both sides believe each other.
fn exchange(meddler: &mut Meddler<'_>, bound: bool) -> bool {
    let (binding, mechanism) = if bound {
        (ChannelBinding::TlsServerEndPoint(vec![7; 32]), Mechanism::ScramSha256Plus)
    } else {
        (ChannelBinding::Unavailable, Mechanism::ScramSha256)
    };
    // Few iterations: the work is not what is tested.
    let secret = Secret::Scram(ScramVerifier::derive(b"pencil", b"0123456789abcdef", NonZeroU32::MIN));
    let login = ScramLogin::Password(Zeroizing::new(b"pencil".to_vec()));
    let server = ScramServer::new(Some(&secret), "user", &[1; 32], [2; 18])
        .with_channel_binding(mechanism, binding.clone());
    let (client_first, client) = ScramClient::start(login, mechanism, &binding, [3; 18]);
    let Ok((server_first, server)) = server.client_first(&meddler.pass(0, client_first)) else {
        return false;
    };
    let server_first = meddler.pass(1, server_first);
    if asks_for_much(&server_first) {
        return false;
    }
    let Ok(ScramStep::Send { message, next }) = client.step(ServerMessage::Continue(&server_first)) else {
        return false;
    };
    let Ok(success) = server.client_final(&meddler.pass(2, message)) else { return false };
    let server_final = meddler.pass(3, success.server_final);
    matches!(next.step(ServerMessage::Final(&server_final)), Ok(ScramStep::Authenticated))
}

/// Iterations that are within the limit and take long: tried by a test elsewhere.
fn asks_for_much(server_first: &[u8]) -> bool {
    let iterations = server_first.rsplit(|byte| *byte == b'=').next().unwrap_or_default();
    iterations.len() > 2
}
