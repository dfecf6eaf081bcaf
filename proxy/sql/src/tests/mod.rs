//! Tests by subject; each table row is one rule or one trap.

mod lexical;
mod literals;
mod mentions;
mod properties;
#[cfg(feature = "parser")]
mod relations;
mod settings;
mod timing;
mod verbs;

use crate::{Script, Statement, StringSyntax, Verb, analyse};

fn script(text: &str) -> Script {
    analyse(text.as_bytes(), StringSyntax::Standard).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn one(text: &str) -> Statement {
    script(text).single().unwrap_or_else(|| panic!("not one statement: {text}")).clone()
}

fn verbs(text: &str) -> Vec<Verb> {
    script(text).statements().iter().map(|statement| statement.verb).collect()
}

fn parts(text: &str) -> Vec<String> {
    parts_as(text, StringSyntax::Standard)
}

fn parts_as(text: &str, strings: StringSyntax) -> Vec<String> {
    let script = analyse(text.as_bytes(), strings).unwrap_or_else(|error| panic!("{text}: {error}"));
    script.statements().iter().map(|statement| text[statement.span.clone()].to_owned()).collect()
}
