//! Settings that are one word out of a few.

use crate::mistake::Fault;

/// A setting whose value is one of a fixed list of words.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Every word with its meaning.
    const WORDS: &'static [(&'static str, Self)];

    /// The meaning of a word.
    fn from_word(text: &str) -> Result<Self, Fault> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| Fault::new(format!("{text:?} is not known"), format!("one of {}", Self::listed())))
    }

    /// The words, for a message.
    fn listed() -> String {
        Self::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
    }
}

/// Gives an enum its words: `Word` for reading, `as_str` for printing.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $crate::word::Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl $name {
            /// The word that stands for it in the configuration.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}

pub(crate) use words;
