use super::*;
use pgwarden_shadow::verdict::{Ledger, Moment, Rules, Surroundings, judge};

fn empty() -> Report {
    let rules = Rules { min_days: 7, min_replays: 3, max_uncovered: 0 };
    judge(&Ledger::new(None), Surroundings::default(), rules, Moment::of_seconds(1_000_000_000))
}

#[test]
fn base64_is_that_of_rfc_4648() {
    let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
    assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
}

#[test]
fn the_policy_names_the_one_script_and_the_one_style_and_allows_nothing_else() {
    let page = render(&empty());
    assert!(page.contains(&format!("script-src '{}'", source(SCRIPT))), "{page}");
    assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1));
    assert!(!page.contains(" style=") && !page.contains(" onclick="));
    // The name of a language is no address.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn nothing_known_is_said_in_every_section() {
    let page = render(&empty());
    for said in [
        "No table is staged",
        "Nothing was found",
        "No statement was seen",
        "No service was used",
        "No step was taken",
    ] {
        assert!(page.contains(said), "{said}");
    }
}
