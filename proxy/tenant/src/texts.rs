//! What is known of texts: remembered, because offence it out takes a real parse.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Texts remembered at most; when it is full, it is emptied.
const TEXTS: usize = 4096;
/// Bytes of texts remembered at most.
const BYTES: usize = 8 * 1024 * 1024;

/// Answers by text, bounded in number and size.
#[derive(Debug)]
pub(crate) struct Texts<A> {
    known: Mutex<Known<A>>,
}

#[derive(Debug)]
struct Known<A> {
    answers: HashMap<Box<[u8]>, A>,
    bytes: usize,
}

impl<A> Default for Texts<A> {
    fn default() -> Self {
        Self { known: Mutex::new(Known { answers: HashMap::new(), bytes: 0 }) }
    }
}

impl<A: Copy> Texts<A> {
    /// The answer for a text; `None` while nobody has looked.
    pub(crate) fn find(&self, text: &[u8]) -> Option<A> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).answers.get(text).copied()
    }

    /// Remembers the answer, and forgets all others when there is no room for it.
    pub(crate) fn remember(&self, text: &[u8], answer: A) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.answers.len() >= TEXTS || known.bytes.saturating_add(text.len()) > BYTES {
            known.answers.clear();
            known.bytes = 0;
        }
        if known.answers.insert(text.into(), answer).is_none() {
            known.bytes += text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_number_and_in_bytes() {
        let texts = Texts::default();
        for number in 0..3 * TEXTS {
            texts.remember(&number.to_be_bytes(), number);
        }
        assert_eq!(texts.find(&(3 * TEXTS - 1).to_be_bytes()), Some(3 * TEXTS - 1));
        assert!(texts.known.lock().expect("unpoisoned").answers.len() <= TEXTS);
        for number in 0..100_u8 {
            texts.remember(&vec![number; BYTES / 10], 0);
        }
        let known = texts.known.lock().expect("unpoisoned");
        assert!(known.bytes <= BYTES);
        assert_eq!(known.bytes, known.answers.keys().map(|text| text.len()).sum::<usize>());
    }

    #[test]
    fn a_text_is_counted_once() {
        let texts = Texts::default();
        texts.remember(b"one", 1);
        texts.remember(b"one", 2);
        assert_eq!(texts.find(b"one"), Some(2));
        assert_eq!(texts.known.lock().expect("unpoisoned").bytes, 3);
    }
}
