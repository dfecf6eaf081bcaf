//! The last records, for people.

use super::TrailError;
use crate::cli::Tail;
use crate::trail::files::{Line, Lines, TrailFile, files};
use pgwarden_audit::Record;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

/// How often it is looked for further records.
const LOOK: Duration = Duration::from_millis(200);

/// Prints them, and goes on if asked to, until nobody reads it.
pub(super) fn tail(flags: &Tail) -> Result<(), TrailError> {
    let all = list(&flags.directory)?;
    let Some(last) = all.last() else { return Err(TrailError::NoTrail(flags.directory.clone())) };
    let mut found: VecDeque<Vec<u8>> = VecDeque::new();
    let mut open = None;
    for file in all.iter().rev() {
        let (lines, rest) = read(file)?;
        open = open.or(Some(rest));
        for line in lines.into_iter().rev().take(flags.records - found.len().min(flags.records)) {
            found.push_front(line);
        }
        if found.len() >= flags.records {
            break;
        }
    }
    let mut is_read = found.iter().all(|line| print(line, flags).is_ok());
    let Some(mut open) = open.filter(|_| flags.follow) else { return Ok(()) };
    let (mut current, mut partial) = (last.clone(), std::mem::take(&mut open.torn));
    while is_read {
        // Looked for first: the file is at its end before there is another one.
        let next = list(&flags.directory)?.into_iter().find(|file| file.first > current.first);
        let wrong = || TrailError::of(&current.path);
        while let Some(line) = open.lines.next().map_err(wrong())? {
            let (Line::Whole(bytes) | Line::Torn(bytes)) = &line;
            partial.extend_from_slice(bytes);
            if line.whole().is_some() {
                is_read = print(&partial, flags).is_ok();
                partial.clear();
            }
        }
        match next {
            Some(file) => {
                open = Open { lines: file.lines().map_err(TrailError::of(&file.path))?, torn: Vec::new() };
                (current, partial) = (file, Vec::new());
            }
            None => std::thread::sleep(LOOK),
        }
    }
    Ok(())
}

/// A file that was read to its end.
struct Open {
    lines: Lines,
    /// What stands behind the last whole line.
    torn: Vec<u8>,
}

fn list(directory: &Path) -> Result<Vec<TrailFile>, TrailError> {
    files(directory).map_err(TrailError::of(directory))
}

fn read(file: &TrailFile) -> Result<(Vec<Vec<u8>>, Open), TrailError> {
    let wrong = || TrailError::of(&file.path);
    let (mut lines, mut whole, mut torn) = (file.lines().map_err(wrong())?, Vec::new(), Vec::new());
    while let Some(line) = lines.next().map_err(wrong())? {
        match line {
            Line::Whole(line) => whole.push(line),
            Line::Torn(rest) => torn = rest,
        }
    }
    Ok((whole, Open { lines, torn }))
}

/// Prints a record; fails when nobody reads.
fn print(line: &[u8], flags: &Tail) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match (flags.output.json, Record::read(line)) {
        (false, Some(record)) => out.write_all(shown(&record).as_bytes())?,
        _ => out.write_all(line)?,
    }
    out.write_all(b"\n")?;
    out.flush()
}

/// A record as one line for people.
fn shown(record: &Record) -> String {
    let mut text = format!("{} {:>6} {}", record.time, record.seq, record.kind);
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            let _fits = write!(text, " {name}={}", value.escape_debug());
        }
    };
    let said = |value: &Option<String>| value.clone().unwrap_or_default();
    add(
        "count",
        &record.count.filter(|count| *count != 1).map(|count| count.to_string()).unwrap_or_default(),
    );
    add("database", record.database().unwrap_or_default());
    if let Some(target) = &record.target {
        let names = [said(&target.schema), said(&target.table), said(&target.column)];
        add("target", &names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join("."));
        add("policy", &said(&target.policy));
    }
    add("tenant", record.tenant.as_ref().map_or("", |tenant| &tenant.id));
    add("user", record.actor.as_ref().map_or("", |actor| &actor.user));
    add("finding", &said(&record.finding));
    if let Some(query) = &record.query {
        add("query", &query.fingerprint);
        add("text", &said(&query.text));
    }
    for (name, value) in [("coverage", json(&record.coverage)), ("staging", json(&record.staging))] {
        add(name, &value);
    }
    for (name, value) in [("service", json(&record.service)), ("detail", json(&record.detail))] {
        add(name, &value);
    }
    text
}

fn json(value: &Option<impl serde::Serialize>) -> String {
    value.as_ref().and_then(|value| serde_json::to_string(value).ok()).unwrap_or_default()
}
