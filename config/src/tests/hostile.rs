//! No input makes a parser panic, and no message gives a secret away.

use proptest::prelude::*;

use super::{Fake, from_file, pairs};
use crate::endpoint::Endpoint;
use crate::{fixed, load, syntax, units, url, variable};

proptest! {
    #[test]
    fn no_parser_panics(text in "\\PC*", prefix in prop::sample::select(vec![
        "", "postgres://", "postgres://u:p@h/", "a.b=", "a.b=claim:", "a.b=literal:'", "alice=tenant:", "/", "[",
    ])) {
        let text = format!("{prefix}{text}");
        let _ = Endpoint::parse(&text);
        let _ = url::parse(&text);
        let _ = variable::parse_list(&text);
        let _ = fixed::parse_list(&text);
        let _ = units::size(&text, 0, u64::MAX);
        let _ = syntax::unquote(&text);
    }

    #[test]
    fn likely_characters_make_no_parser_panic(text in "[ab0-9:/@?&=%,;.'\"\\[\\]* -]{0,40}") {
        let _ = Endpoint::parse(&text);
        let _ = url::parse(&format!("postgres://{text}"));
        let _ = variable::parse_list(&text);
        let _ = fixed::parse_list(&text);
    }

    #[test]
    fn no_file_makes_loading_panic(text in "\\PC*", lines in prop::collection::vec(
        prop::sample::select(vec![
            "[pool]", "[context]", "[[context.variables]]", "name = \"a.b\"", "from = \"é\"", "size = [1]",
            "listen = {}", "mode = 1979-05-27", "users = 1", "databases.x = 1", "[users.a]", "\"é\" = \"é",
        ]), 0..8)) {
        let _ = from_file(&text);
        let _ = from_file(&lines.join("\n"));
    }

    #[test]
    fn no_variable_makes_loading_panic(value in "\\PC*", index in any::<prop::sample::Index>()) {
        let names: Vec<&str> = crate::keys::KEYS.iter().filter_map(|(_, name)| *name).collect();
        let _ = load(None, &pairs(&[(*index.get(names.as_slice()), value.as_str())]), &[], &Fake);
    }

    #[test]
    fn a_message_about_a_url_never_shows_its_password(
        before in "[a-z0-9:/@?#&=%,]{0,8}", after in "[a-z0-9:/@?#&=%,]{0,8}",
    ) {
        let url = format!("postgres://app:{before}hunter2{after}@host:5432/db?sslmode=require");
        match load(None, &pairs(&[("PGWARDEN_UPSTREAM", &url)]), &[], &Fake) {
            Ok(settings) => {
                let printed = format!("{settings:?}");
                prop_assert!(!printed.contains("hunter2"));
            },
            Err(mistakes) => {
                prop_assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains("hunter2")));
            }
        }
    }

    #[test]
    fn what_is_quoted_reads_back(text in "\\PC*") {
        for mark in ['\'', '"'] {
            prop_assert_eq!(&syntax::unquote(&syntax::quote(&text, mark)).unwrap(), &text);
        }
    }

    #[test]
    fn what_is_percent_encoded_reads_back(user in "\\PC+", database in "\\PC+") {
        let parsed = url::parse(&format!("postgres://{}@h/{}", url::encode(&user), url::encode(&database))).unwrap();
        prop_assert_eq!((parsed.user, parsed.database), (Some(user), Some(database)));
    }

    #[test]
    fn an_endpoint_prints_as_it_is_written(port in any::<u16>(), host in "[a-z0-9.-]{1,20}|\\*|\\[::1\\]|/[a-z]{1,9}") {
        let text = format!("{host}:{port}");
        prop_assert_eq!(Endpoint::parse(&text).unwrap().to_string(), text);
    }
}
