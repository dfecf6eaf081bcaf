//! An error together with what caused it, on one line.

use std::error::Error;
use std::fmt;

/// Shows an error and all its sources, with colons between.
///
/// Some errors repeat their source in their own text and some do not; what the text ends with is not said again.
pub(crate) struct WithCauses<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut next = self.0.source();
        while let Some(source) = next {
            let cause = source.to_string();
            if !text.ends_with(&cause) {
                text = format!("{text}: {cause}");
            }
            next = source.source();
        }
        out.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    enum Outer {
        #[error("no keys")]
        Silent(#[source] Inner),
        #[error("line 1: {0}")]
        Repeating(#[source] Inner),
    }

    #[derive(Debug, Error)]
    #[error("cannot read")]
    struct Inner(#[source] io::Error);

    fn inner() -> Inner {
        Inner(io::Error::other("permission denied"))
    }

    #[test]
    fn every_cause_is_named() {
        let shown = WithCauses(&Outer::Silent(inner())).to_string();
        assert_eq!(shown, "no keys: cannot read: permission denied");
    }

    #[test]
    fn no_cause_is_named_twice() {
        let shown = WithCauses(&Outer::Repeating(inner())).to_string();
        assert_eq!(shown, "line 1: cannot read: permission denied");
    }
}
