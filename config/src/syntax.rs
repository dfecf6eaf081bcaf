//! Lists on one line, with quotes: what `PGWARDEN_CONTEXT` and `PGWARDEN_FIXED` are written in.

use crate::mistake::Fault;

/// Splits at a separator, except inside single or double quotes; pieces are trimmed.
pub(crate) fn split(text: &str, separator: char) -> Result<Vec<&str>, Fault> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for at in outside_quotes(text, separator)? {
        pieces.extend(text.get(start..at));
        start = at + separator.len_utf8();
    }
    pieces.extend(text.get(start..));
    Ok(pieces.into_iter().map(str::trim).collect())
}

/// Splits at the first separator outside quotes.
pub(crate) fn split_first(text: &str, separator: char) -> Result<Option<(&str, &str)>, Fault> {
    let first = outside_quotes(text, separator)?.into_iter().next();
    let parts = first.and_then(|at| Some((text.get(..at)?, text.get(at + separator.len_utf8()..)?)));
    Ok(parts.map(|(left, right)| (left.trim(), right.trim())))
}

/// Takes the quotes off, if there are any; a doubled quote inside stands for one.
pub(crate) fn unquote(text: &str) -> Result<String, Fault> {
    for quote in ['\'', '"'] {
        let Some(rest) = text.strip_prefix(quote) else { continue };
        let inner = rest.strip_suffix(quote).unwrap_or(rest);
        let doubled = format!("{quote}{quote}");
        if rest.len() == inner.len() || inner.replace(&doubled, "").contains(quote) {
            return Err(Fault::new(format!("{text} is not quoted rightly"), "one quoted text"));
        }
        return Ok(inner.replace(&doubled, &quote.to_string()));
    }
    if text.contains(['\'', '"']) {
        return Err(Fault::new(format!("{text} has a quote inside"), "the quotes around the whole text"));
    }
    Ok(text.to_owned())
}

/// The text in quotes, so that [`unquote`] gives it back.
pub(crate) fn quote(text: &str, mark: char) -> String {
    let doubled = text.replace(mark, &format!("{mark}{mark}"));
    format!("{mark}{doubled}{mark}")
}

fn outside_quotes(text: &str, separator: char) -> Result<Vec<usize>, Fault> {
    let mut found = Vec::new();
    let mut open: Option<char> = None;
    for (at, character) in text.char_indices() {
        match open {
            Some(quote) if quote == character => open = None,
            Some(_) => {}
            None if matches!(character, '\'' | '"') => open = Some(character),
            None if character == separator => found.push(at),
            None => {}
        }
    }
    match open {
        Some(quote) => Err(Fault::new("a quote is not closed", format!("a second {quote}"))),
        None => Ok(found),
    }
}
