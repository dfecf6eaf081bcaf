//! Messages out of a stream of bytes, each with the beginning of its payload.

use pgwarden_wire::HEADER;

/// One direction of a connection. Only the beginning of a payload is kept, the rest is skipped.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Bytes of a payload that are kept.
    kept: usize,
    /// Header and payload so far.
    partial: Vec<u8>,
    /// Bytes of the message in `partial` that are to be skipped.
    skip: usize,
    trust: Trust,
}

/// Whether it is known where messages begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Kept,
    /// A length was none: the session is about to end, and nothing behind it means anything.
    Lost,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The byte that names it.
    pub(crate) tag: u8,
    /// Its payload, up to the limit.
    pub(crate) payload: &'a [u8],
    /// Whether the limit has cut something off.
    pub(crate) extent: Extent,
}

/// How much of a payload is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    Cut,
}

impl Frames {
    /// Keeps so many bytes of each payload at most.
    pub(crate) fn keeping(kept: usize) -> Self {
        Self { kept, partial: Vec::new(), skip: 0, trust: Trust::Kept }
    }

    /// Takes what has passed; `each` hears of every message whose end is in it.
    pub(crate) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Message<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() && self.trust == Trust::Kept {
            if self.partial.is_empty()
                && let Some((message, length)) = self.at_once(rest)
            {
                each(message);
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            rest = self.gather(rest);
            if let Some(message) = self.gathered() {
                each(message);
                self.partial.clear();
            }
        }
    }

    /// A message that lies whole in front of `bytes`, and its length.
    fn at_once<'a>(&self, bytes: &'a [u8]) -> Option<(Message<'a>, usize)> {
        let (tag, length) = header(bytes)?;
        let payload = bytes.get(HEADER..length)?;
        let kept = payload.get(..self.kept).unwrap_or(payload);
        Some((Message { tag, payload: kept, extent: extent(kept.len(), payload.len()) }, length))
    }

    /// Adds to the message that is not there yet; returns what lies behind it.
    fn gather<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = match header(&self.partial) {
            None => HEADER.saturating_sub(self.partial.len()),
            Some((_, length)) => {
                let kept = (length - HEADER).min(self.kept) + HEADER;
                let missing = kept.saturating_sub(self.partial.len());
                if missing == 0 {
                    let skipped = self.skip.min(bytes.len());
                    self.skip -= skipped;
                    return bytes.get(skipped..).unwrap_or_default();
                }
                missing
            }
        };
        let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
        self.partial.extend_from_slice(taken);
        if self.partial.len() == HEADER {
            match header(&self.partial) {
                Some((_, length)) => self.skip = (length - HEADER).saturating_sub(self.kept),
                None => self.trust = Trust::Lost,
            }
        }
        rest
    }

    fn gathered(&self) -> Option<Message<'_>> {
        let (tag, length) = header(&self.partial)?;
        let payload = self.partial.get(HEADER..).unwrap_or_default();
        let wanted = (length - HEADER).min(self.kept);
        let there = self.skip == 0 && payload.len() == wanted;
        there.then(|| Message { tag, payload, extent: extent(wanted, length - HEADER) })
    }
}

fn extent(kept: usize, length: usize) -> Extent {
    if kept == length { Extent::Whole } else { Extent::Cut }
}

/// Tag and length of the whole message; nothing while too little is there, or where the length is none.
fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let header = pgwarden_wire::header(bytes).ok()??;
    Some((header.tag, header.length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(pieces: &[&[u8]], kept: usize) -> Vec<(u8, Vec<u8>, Extent)> {
        let (mut frames, mut found) = (Frames::keeping(kept), Vec::new());
        for piece in pieces {
            frames.take(piece, |one| found.push((one.tag, one.payload.to_vec(), one.extent)));
        }
        found
    }

    fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 4).expect("short");
        [&[tag], length.to_be_bytes().as_slice(), payload].concat()
    }

    #[test]
    fn a_long_payload_is_cut() {
        let bytes = [message(b'Q', b"abcdef"), message(b'S', b"")].concat();
        let expected = [(b'Q', b"abc".to_vec(), Extent::Cut), (b'S', Vec::new(), Extent::Whole)];
        assert_eq!(messages(&[&bytes], 3), expected);
        assert_eq!(messages(&[&bytes[..7], &bytes[7..10], &bytes[10..]], 3), expected);
    }

    #[test]
    fn behind_a_length_that_is_none_nothing_is_a_message() {
        let bytes = [message(b'S', b""), b"Q\0\0\0\x01".to_vec(), message(b'S', b"")].concat();
        assert_eq!(messages(&[&bytes], 3).len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert!(messages(&pieces, 5).len() <= 8 * 40);
        }

        #[test]
        fn any_split_gives_the_same_messages(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..8),
            cuts in prop::collection::vec(0..100_usize, 0..8),
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| message(b'd', payload)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let found = messages(&pieces, 5);
            prop_assert_eq!(&found, &messages(&[&bytes], 5));
            prop_assert_eq!(found.len(), payloads.len());
        }
    }
}
