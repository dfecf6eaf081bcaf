//! The settings of a startup packet: its parameters, and the `options` that libpq passes like a command line.

use pgwarden_wire::Startup;

/// Startup parameters that are not settings (`ProcessStartupPacket` in `backend_startup.c`).
const NOT_SETTINGS: [&str; 4] = ["user", "database", "replication", "options"];

/// The settings a client wants to start with, in the order in which the server would apply them.
///
/// # Errors
/// The part of `options` that cannot be read.
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

/// `-c name=value`, `-cname=value` and `--name=value`; dashes in a name stand for underscores (`ParseLongOption`).
fn from_options(options: &str) -> Result<Vec<(String, String)>, String> {
    let words = words(options);
    let mut words = words.iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--") {
            Some(long) => Some(long),
            None => match word.strip_prefix("-c") {
                Some("") => words.next().map(String::as_str),
                other => other,
            },
        };
        let pair = assignment.and_then(|text| text.split_once('='));
        let (name, value) = pair.ok_or_else(|| word.clone())?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
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
        assert_eq!(from_options("-d 5"), Err("-d".to_owned()));
        assert_eq!(from_options("-c nothing"), Err("-c".to_owned()));
    }
}
