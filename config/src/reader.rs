//! Typed access to what was written; collects every mistake on the way.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::mistake::{Fault, Mistake, Origin};
use crate::secret::SecretText;
use crate::source::Source;
use crate::units;
use crate::word::Word;
use crate::written::{self, Node, Value, Written};

/// Reads keys. A key that is absent or wrong gives `None`; a wrong one leaves a mistake as well.
pub(crate) struct Reader<'a> {
    written: &'a Written,
    source: &'a dyn Source,
    mistakes: Vec<Mistake>,
    /// Environment variables that the configuration referred to by `env:`.
    referred: Vec<String>,
}

/// One element of a list, with its place.
pub(crate) struct Item {
    pub(crate) origin: Origin,
    pub(crate) text: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(written: &'a Written, source: &'a dyn Source) -> Self {
        Self { written, source, mistakes: written.mistakes.clone(), referred: Vec::new() }
    }

    /// All that was found, in the order of the file, then the environment, the flags, and what is absent.
    pub(crate) fn into_mistakes(mut self) -> Vec<Mistake> {
        for (name, origin) in &self.written.unknown {
            if !self.referred.contains(name) {
                self.mistakes.push(written::unknown_variable(name, origin.clone()));
            }
        }
        self.mistakes.sort_by_key(|mistake| match &mistake.origin {
            Origin::File { line, column, .. } => (0, *line, *column),
            Origin::Environment { .. } => (1, 0, 0),
            Origin::Flag { .. } => (2, 0, 0),
            Origin::Absent => (3, 0, 0),
        });
        self.mistakes
    }

    /// What was written under a key.
    pub(crate) fn node(&self, key: &str) -> Option<&'a Node> {
        self.written.node(key)
    }

    /// Where a key was written.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.node(key).map_or(Origin::Absent, |node| node.origin.clone())
    }

    /// Whether the key was written, rightly or wrongly.
    pub(crate) fn is_written(&self, key: &str) -> bool {
        self.node(key).is_some()
    }

    /// Whether a mistake was found under this key or below it, so that nothing should be concluded from it.
    pub(crate) fn is_spoiled(&self, key: &str) -> bool {
        let within = |rest: &str| rest.is_empty() || rest.starts_with('.');
        self.mistakes.iter().any(|mistake| mistake.key.strip_prefix(key).is_some_and(within))
    }

    /// Records a mistake at the place where `key` was written.
    pub(crate) fn wrong(&mut self, key: &str, fault: Fault) {
        let origin = self.origin(key);
        self.wrong_at(origin, key, fault);
    }

    /// Records a mistake at a given place.
    pub(crate) fn wrong_at(&mut self, origin: Origin, key: &str, fault: Fault) {
        self.mistakes.push(fault.at(origin, key));
    }

    /// Records that `key` is missing; `because` is the key that makes it necessary.
    pub(crate) fn missing(&mut self, key: &str, because: &str, fault: Fault) {
        let origin = self.origin(because);
        self.wrong_at(origin, key, fault);
    }

    /// Reads a single value with a parser of its own.
    pub(crate) fn parse<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        let node = self.node(key)?;
        let read = single(node).and_then(parse);
        self.keep(read, &node.origin, key)
    }

    /// Keeps what was read, or records what is wrong with it.
    pub(crate) fn keep<T>(&mut self, read: Result<T, Fault>, origin: &Origin, key: &str) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(fault) => {
                self.wrong_at(origin.clone(), key, fault);
                None
            }
        }
    }

    /// One word out of a few.
    pub(crate) fn word<W: Word>(&mut self, key: &str) -> Option<W> {
        self.parse(key, W::from_word)
    }

    /// A whole number within bounds.
    pub(crate) fn number<N: TryFrom<u64>>(&mut self, key: &str, bounds: RangeInclusive<u64>) -> Option<N> {
        self.parse(key, |text| number(text, &bounds))
    }

    /// A duration within bounds.
    pub(crate) fn duration(&mut self, key: &str, least: Duration, most: Duration) -> Option<Duration> {
        self.parse(key, |text| units::duration(text, least, most))
    }

    /// A number of bytes within bounds.
    pub(crate) fn size(&mut self, key: &str, bounds: RangeInclusive<u64>) -> Option<usize> {
        self.parse(key, |text| units::size(text, *bounds.start(), *bounds.end()))
    }

    /// Any text that is not empty.
    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        self.parse(key, |text| Ok(text.to_owned()))
    }

    /// The path of a file that can be read.
    pub(crate) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(key)?);
        let origin = self.origin(key);
        let readable = self.readable(&path);
        self.keep(readable.map(|()| path), &origin, key)
    }

    /// A list: an array, or one text with commas.
    pub(crate) fn items(&mut self, key: &str) -> Option<Vec<Item>> {
        let node = self.node(key)?;
        if let Value::List(nodes) = &node.value {
            return Some(nodes.iter().filter_map(|node| self.item(node, key)).collect());
        }
        let text = self.text(key)?;
        let item = |part: &str| Item { origin: node.origin.clone(), text: part.trim().to_owned() };
        Some(text.split(',').map(item).collect())
    }

    /// A secret behind `file:PATH` or `env:NAME`.
    pub(crate) fn secret(&mut self, key: &str) -> Option<SecretText> {
        let node = self.node(key)?;
        let read = single(node).and_then(|text| self.indirect(text));
        self.keep(read, &node.origin, key)
    }

    /// The value of an environment variable that the configuration refers to.
    pub(crate) fn env(&mut self, name: &str) -> Result<SecretText, Fault> {
        self.referred.push(name.to_owned());
        let fault = |problem| {
            Fault::new(
                format!("environment variable {name:?} is not {problem}"),
                "a variable that holds the secret",
            )
        };
        let value = self.source.env(name).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| fault("set"))?;
        value.into_string().map(SecretText::new).map_err(|_| fault("UTF-8 text"))
    }

    /// Checks that a file can be read.
    pub(crate) fn readable(&self, path: &Path) -> Result<(), Fault> {
        match self.source.file(path) {
            Ok(bytes) => {
                drop(Zeroizing::new(bytes));
                Ok(())
            }
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    fn item(&mut self, node: &Node, key: &str) -> Option<Item> {
        let text = single(node).map(|text| text.trim().to_owned());
        let text = self.keep(text, &node.origin, key)?;
        Some(Item { origin: node.origin.clone(), text })
    }

    /// The secret behind `file:PATH` or `env:NAME`.
    pub(crate) fn indirect(&mut self, text: &str) -> Result<SecretText, Fault> {
        const EXPECTED: &str = "file:PATH or env:NAME";
        if let Some(name) = text.strip_prefix("env:") {
            return self.env(name);
        }
        let Some(path) = text.strip_prefix("file:") else {
            return Err(Fault::new("a secret may not stand here itself", EXPECTED));
        };
        let path = Path::new(path);
        let bytes = self.source.file(path).map(Zeroizing::new).map_err(|error| unreadable(path, &error))?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Err(Fault::new(
                format!("{path:?} is not UTF-8 text"),
                "a text file that holds the secret",
            ));
        };
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(Fault::new(format!("{path:?} is empty"), "a text file that holds the secret"));
        }
        Ok(SecretText::new(secret.to_owned()))
    }
}

/// The text of a single value; an empty one is a mistake wherever it stands (a template that came to nothing).
pub(crate) fn single(node: &Node) -> Result<&str, Fault> {
    match &node.value {
        Value::Text(text) if text.trim().is_empty() => {
            Err(Fault::new("is empty", "a value, or the key left out"))
        }
        Value::Text(text) => Ok(text.trim()),
        Value::List(_) => Err(Fault::new("is a list", "a single value")),
        Value::Table(_) => Err(Fault::new("is a table", "a single value")),
    }
}

/// Reads a whole number within bounds.
pub(crate) fn number<N: TryFrom<u64>>(text: &str, bounds: &RangeInclusive<u64>) -> Result<N, Fault> {
    let expected = || format!("an integer from {} to {}", bounds.start(), bounds.end());
    let Ok(value) = text.parse::<i128>() else {
        return Err(Fault::new(format!("{text:?} is not a number"), expected()));
    };
    let fits = u64::try_from(value).ok().filter(|value| bounds.contains(value));
    fits.and_then(|value| N::try_from(value).ok())
        .ok_or_else(|| Fault::new(format!("{value} is out of range"), expected()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(format!("cannot read {path:?}: {error}"), "a file that pgwarden may read")
}
