//! The first packet of a connection.

use pgwarden_wire::{First, STARTUP_LIMIT, Writer, first_packet, first_packet_length};

pub(crate) fn run(input: &[u8]) {
    if let Some(field) = input.first_chunk::<4>()
        && let Ok(length) = first_packet_length(*field)
    {
        assert!((8..=STARTUP_LIMIT).contains(&length));
    }
    let packet = input.get(4..).unwrap_or_default();
    let Ok(first) = first_packet(packet) else { return };
    let mut written = Vec::new();
    Writer::new(&mut written).counted(|payload| match &first {
        First::Ssl => {
            payload.int32(80_877_103);
        }
        First::Gss => {
            payload.int32(80_877_104);
        }
        First::Cancel { pid, secret } => {
            payload.int32(80_877_102).bytes(&pid.to_be_bytes()).bytes(secret);
        }
        First::Startup(startup) => {
            payload.bytes(&startup.protocol.to_be_bytes());
            for (name, value) in &startup.parameters {
                assert!(!name.is_empty());
                assert!(startup.parameter(name).is_some());
                payload.string(name.as_bytes()).string(value.as_bytes());
            }
            payload.byte(0);
        }
    });
    assert_eq!(&written[4..], packet, "what is read is all there was");
}
