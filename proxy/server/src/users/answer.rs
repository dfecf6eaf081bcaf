//! What the rows mean that the query for a user's secret returns.

use crate::lookup::Row;
use pgwarden_auth::secret::Secret;
use std::time::Duration;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A secret, and for how long it is valid where that is known.
    Secret(Secret, Option<Duration>),
    /// There is no such user, or it has no secret, or may not log in.
    Nobody,
    /// Something that lets nobody in, and why: for the log, without any value.
    Unusable(&'static str),
}

impl Answer {
    /// Reads the rows: at most one, of one to three columns (see `auth.query.sql`).
    ///
    /// What cannot be used concerns this user alone, as far as anybody can tell: it reads like an unknown one.
    pub(super) fn read(rows: &[Row], user: &str) -> Self {
        let row = match rows {
            [] => return Self::Nobody,
            [row] => row,
            _ => return Self::Unusable("there is more than one row"),
        };
        let texts: Vec<Option<&str>> =
            row.iter().map(|value| value.as_ref().map(|text| text.as_str())).collect();
        let (name, secret, seconds) = match *texts {
            [secret] => (Some(user), secret, None),
            [name, secret] => (name, secret, None),
            [name, secret, seconds] => (name, secret, seconds),
            _ => return Self::Unusable("there is no column, or there are more than three"),
        };
        if name != Some(user) {
            return Self::Unusable("the first of its columns is not the user's name");
        }
        let Some(secret) = secret.filter(|secret| !secret.is_empty()) else { return Self::Nobody };
        let valid = match seconds.map(str::parse::<f64>) {
            None => None,
            Some(Ok(seconds)) if seconds <= 0.0 => return Self::Nobody,
            // What is too long to be a duration is as good as for ever.
            Some(Ok(seconds)) if !seconds.is_nan() => Duration::try_from_secs_f64(seconds).ok(),
            Some(_) => return Self::Unusable("the third of its columns is not a number of seconds"),
        };
        match Secret::parse(secret) {
            Ok(secret) => Self::Secret(secret, valid),
            Err(_) => Self::Unusable("the secret starts like a SCRAM verifier and is none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn row(values: &[Option<&str>]) -> Row {
        values.iter().map(|value| value.map(|text| Zeroizing::new(text.to_owned()))).collect()
    }

    fn read(values: &[Option<&str>]) -> Answer {
        Answer::read(&[row(values)], "alice")
    }

    fn clear(text: &str) -> Secret {
        Secret::parse(text).unwrap()
    }

    #[test]
    fn one_row_names_the_user_its_secret_and_for_how_long_it_is_valid() {
        assert_eq!(read(&[Some("secret")]), Answer::Secret(clear("secret"), None));
        assert_eq!(read(&[Some("alice"), Some("secret")]), Answer::Secret(clear("secret"), None));
        let seconds = |text| read(&[Some("alice"), Some("secret"), text]);
        assert_eq!(seconds(Some("1.5")), Answer::Secret(clear("secret"), Some(Duration::from_millis(1500))));
        for for_ever in [None, Some("1e300"), Some("Infinity")] {
            assert_eq!(seconds(for_ever), Answer::Secret(clear("secret"), None));
        }
    }

    #[test]
    fn whoever_has_no_valid_secret_is_nobody() {
        assert_eq!(Answer::read(&[], "alice"), Answer::Nobody);
        for values in [
            &[None][..],
            &[Some("")],
            &[Some("alice"), None],
            &[Some("alice"), None, Some("10")],
            &[Some("alice"), Some("secret"), Some("0")],
            &[Some("alice"), Some("secret"), Some("-3.25")],
            &[Some("alice"), Some("secret"), Some("-Infinity")],
        ] {
            assert_eq!(read(values), Answer::Nobody, "{values:?}");
        }
    }

    #[test]
    fn what_is_no_answer_lets_nobody_in() {
        let two = [row(&[Some("alice"), Some("a")]), row(&[Some("alice"), Some("b")])];
        assert!(matches!(Answer::read(&two, "alice"), Answer::Unusable(_)));
        for values in [
            &[][..],
            &[Some("bob"), Some("secret")],
            &[None, Some("secret")],
            &[Some("Alice"), Some("secret")],
            &[Some("alice"), Some("SCRAM-SHA-256$broken")],
            &[Some("alice"), Some("secret"), Some("2030-01-01")],
            &[Some("alice"), Some("secret"), Some("NaN")],
            &[Some("alice"), Some("secret"), None, None],
        ] {
            assert!(matches!(read(values), Answer::Unusable(_)), "{values:?}");
        }
    }
}
