//! Flags, then environment, then file, then default.

use std::path::{Path, PathBuf};

use super::{Fake, TRUST, UPSTREAM, from_file_with_upstream, pairs};
use crate::{Mode, config_path, load};

fn size(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> u32 {
    let environment = pairs(&[&[UPSTREAM, TRUST], environment].concat());
    load(Some((Path::new("p"), file)), &environment, &pairs(flags), &Fake).unwrap().pool.size
}

#[test]
fn the_stronger_origin_wins() {
    let (file, variable, flag) = ("pool.size = 1", ("PGWARDEN_POOL_SIZE", "2"), ("PGWARDEN_POOL_SIZE", "3"));
    assert_eq!(size("", &[], &[]), 20);
    assert_eq!(size(file, &[], &[]), 1);
    assert_eq!(size(file, &[variable], &[]), 2);
    assert_eq!(size(file, &[variable], &[flag]), 3);
}

#[test]
fn a_wrong_value_that_is_replaced_is_no_mistake() {
    assert_eq!(size("pool.size = \"many\"", &[], &[("PGWARDEN_POOL_SIZE", "3")]), 3);
}

#[test]
fn a_flag_is_named_as_one_types_it() {
    let environment = pairs(&[UPSTREAM, TRUST]);
    let mistakes = load(None, &environment, &pairs(&[("PGWARDEN_POOL_SIZE", "x")]), &Fake).unwrap_err();
    assert_eq!(
        mistakes[0].to_string(),
        "--pool-size: pool.size: \"x\" is not a number; expected an integer from 1 to 10000"
    );
}

#[test]
fn the_mode_of_a_user_goes_before_that_of_the_database() {
    let settings = from_file_with_upstream(
        "mode = \"shadow\"\ndatabases.app.mode = \"enforce\"\n[users.migrator]\nmode = \"passthrough\"\n\
         [context]\nvariables = \"a.b=literal:c\"",
    )
    .unwrap();
    assert_eq!(settings.mode_for("other", "alice"), Mode::Shadow);
    assert_eq!(settings.mode_for("app", "alice"), Mode::Enforce);
    assert_eq!(settings.mode_for("app", "migrator"), Mode::Passthrough);
}

#[test]
fn the_flag_names_the_file_before_the_environment_does() {
    let (one, two) = (pairs(&[("PGWARDEN_CONFIG", "/one")]), pairs(&[("PGWARDEN_CONFIG", "/two")]));
    assert_eq!(config_path(&one, &two), Some(PathBuf::from("/two")));
    assert_eq!(config_path(&one, &[]), Some(PathBuf::from("/one")));
    assert_eq!(config_path(&[], &[]), None);
}
