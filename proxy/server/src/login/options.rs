//! The settings of a startup packet: its parameters, and the `options` that libpq passes like a command line.

use pgwarden_wire::Startup;

/// Startup parameters that are not settings (`ProcessStartupPacket` in `backend_startup.c`).
const NOT_SETTINGS: [&str; 4] = ["user", "database", "replication", "options"];

/// The settings a client wants to start with, in the order in which the server would apply them.
///
/// # Errors
/// Why `options` cannot be read, in the server's words (SQLSTATE 42601).
pub(super) fn settings(startup: &Startup) -> Result<Vec<(String, String)>, String> {
    let mut settings = from_options(startup.parameter("options").unwrap_or_default())?;
    let direct = startup.parameters.iter().filter(|(name, _)| !is_special(name));
    settings.extend(direct.cloned());
    Ok(settings)
}

/// Protocol extensions that the client asks for (`_pq_.…`).
pub(super) fn extensions(startup: &Startup) -> Vec<&str> {
    startup
        .parameters
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with("_pq_."))
        .collect()
}

fn is_special(name: &str) -> bool {
    NOT_SETTINGS.contains(&name) || name.starts_with("_pq_.")
}

/// `-c name=value`, `-cname=value` and `--name=value`, and the short switches that are of use to a session
/// (`process_postgres_switches` in `postgres.c`).
fn from_options(options: &str) -> Result<Vec<(String, String)>, String> {
    let words = words(options);
    let mut words = words.iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let stray = || format!("invalid command-line argument for server process: {word}");
        let (switch, joined) = switch(word).ok_or_else(stray)?;
        let mut argument = || match joined {
            "" => words.next().map(String::as_str).ok_or_else(stray),
            joined => Ok(joined),
        };
        settings.push(match switch {
            'c' => assignment("-c ", argument()?)?,
            '-' if !joined.is_empty() => assignment("--", joined)?,
            'e' if joined.is_empty() => ("DateStyle".to_owned(), "euro".to_owned()),
            'S' => ("work_mem".to_owned(), argument()?.to_owned()),
            _ => return Err(stray()),
        });
    }
    Ok(settings)
}

/// The letter of a switch and what is joined to it.
fn switch(word: &str) -> Option<(char, &str)> {
    let mut rest = word.strip_prefix('-')?.chars();
    let letter = rest.next()?;
    Some((letter, rest.as_str()))
}

/// Dashes in a name stand for underscores (`ParseLongOption` in `guc.c`).
fn assignment(switch: &str, text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{switch}{text} requires a value"))?;
    Ok((name.replace('-', "_"), value.to_owned()))
}

/// Splits at white space; a backslash keeps the character behind it (`pg_split_opts` in `postinit.c`).
fn words(options: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), None::<String>, false);
    for character in options.chars() {
        match character {
            '\\' if !escaped => {
                escaped = true;
                word.get_or_insert_default();
                continue;
            }
            _ if character.is_ascii_whitespace() && !escaped => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
        escaped = false;
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(options: &str) -> Vec<(String, String)> {
        from_options(options).expect("options")
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn options_are_read_as_the_server_reads_them() {
        assert_eq!(
            pairs(r"-c search_path=a,\ b -cgeqo=off  --statement-timeout=5s"),
            [pair("search_path", "a, b"), pair("geqo", "off"), pair("statement_timeout", "5s")]
        );
        assert_eq!(
            pairs("-S 1024 -e -S2048"),
            [pair("work_mem", "1024"), pair("DateStyle", "euro"), pair("work_mem", "2048")]
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_the_servers_words() {
        for stray in ["-c", "-x", "stray", "-", "-S", "-e5"] {
            let error = format!("invalid command-line argument for server process: {stray}");
            assert_eq!(from_options(stray), Err(error));
        }
        assert_eq!(from_options("-c nothing -x"), Err("-c nothing requires a value".to_owned()));
        assert_eq!(from_options("--no-thing"), Err("--no-thing requires a value".to_owned()));
    }
}
