//! The page of the report in a real browser: it loads, filters, complains about nothing, asks for nothing, and looks as it
//! should in the light, in the dark, on a narrow screen and on paper.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pgwarden_tests::Pgwarden;
use pgwarden_tests::chromium::Chromium;
use pgwarden_tests::records::{Records, hostile, story};
use serde_json::json;

/// Where pictures of the page are left, to be looked at.
fn pictures() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-pictures");
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// The page about these records, as a file.
fn page(name: &str, records: &Records) -> String {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    records.write(&directory);
    let (place, file) = (directory.to_str().expect("a path").to_owned(), directory.join("report.html"));
    let file = file.to_str().expect("a path");
    let exit = Pgwarden::builder().run(&["report", "--trail", &place, "--format", "html", "-o", file]);
    assert!(exit.status.success(), "{}", exit.stderr);
    format!("file://{file}")
}

fn keep(name: &str, picture: &str) {
    let bytes = BASE64_STANDARD.decode(picture).expect("base64");
    fs::write(pictures().join(name), bytes).expect("a picture can be written");
}

const SHOWN: &str = "[...document.querySelectorAll('.findings > li')].filter((one) => one.checkVisibility()).map((one) => one.id)";

#[track_caller]
fn assert_calm(browser: &Chromium) {
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
}

#[test]
fn it_loads_without_a_complaint_and_asks_for_nothing_else() {
    let mut browser = Chromium::start();
    let page = page("loads", &story());
    browser.open(&page);
    assert_calm(&browser);
    let asked: Vec<&String> = browser.requests().iter().filter(|url| !url.starts_with("data:")).collect();
    assert_eq!(asked, [&page]);
    assert_eq!(browser.evaluate("document.querySelectorAll('.verdicts tbody tr').length"), 3);
    assert_eq!(browser.evaluate("document.querySelector('.verdicts .pill').textContent"), "NOT READY");
}

#[test]
fn filters_leave_what_they_say() {
    let mut browser = Chromium::start();
    browser.open(&page("filters", &story()));
    let all = browser.evaluate(SHOWN);
    assert_eq!(all.as_array().map(Vec::len), Some(4), "{all}");
    let choose = |name: &str, value: &str| {
        format!(
            "(() => {{ const one = document.getElementById('filter-{name}'); one.value = '{value}'; \
             one.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
        )
    };
    browser.evaluate(&choose("kind", "write_refused"));
    assert_eq!(browser.evaluate(SHOWN), json!(["finding-aaaa000000000002"]));
    assert_eq!(browser.evaluate("document.querySelector('#filter output').value"), "1 of 4 shown");
    assert_eq!(browser.evaluate("location.hash"), "#filter-kind=write_refused");
    browser.evaluate(&choose("severity", "warning"));
    assert_eq!(browser.evaluate(SHOWN), json!([]));
    assert_eq!(browser.evaluate("document.getElementById('filter-nothing').checkVisibility()"), true);
    browser.evaluate("document.querySelector('#filter button').click()");
    assert_eq!(browser.evaluate(SHOWN).as_array().map(Vec::len), Some(4));
    for (words, expected) in [("LIKE storefront", 2), ("/items org_id = ", 1), ("globex", 4), ("nobody", 0)] {
        browser.evaluate(&choose("words", words));
        let shown = browser.evaluate(SHOWN);
        assert_eq!(shown.as_array().map(Vec::len), Some(expected), "{words}: {shown}");
    }
    browser.evaluate(&choose("words", ""));
    browser.evaluate(&choose("standing", "ignored"));
    assert_eq!(browser.evaluate(SHOWN), json!(["finding-aaaa000000000004"]));
    // Whoever gets the address sees the same.
    let address = browser.evaluate("location.href");
    browser.open("about:blank");
    browser.open(address.as_str().expect("an address"));
    assert_eq!(browser.evaluate(SHOWN), json!(["finding-aaaa000000000004"]));
    let rows =
        "[...document.querySelectorAll('[data-of=coverage]')].filter((one) => one.checkVisibility()).length";
    let never = "(() => { const one = document.getElementById('filter-evaluation'); one.value = 'never evaluated'; \
                 one.dispatchEvent(new Event('input', { bubbles: true })); })()";
    assert_eq!(browser.evaluate(rows), 5);
    browser.evaluate(never);
    assert_eq!(browser.evaluate(rows), 1);
    assert_calm(&browser);
}

#[test]
fn a_link_from_a_verdict_opens_its_finding() {
    let mut browser = Chromium::start();
    browser.open(&page("links", &story()));
    let is_open = "document.querySelector('#finding-aaaa000000000002 details').open";
    assert_eq!(browser.evaluate(is_open), false);
    browser.evaluate(
        "new Promise((done) => { addEventListener('hashchange', () => setTimeout(done)); \
                      document.querySelector('.verdicts a[href=\"#finding-aaaa000000000002\"]').click(); })",
    );
    assert_eq!(browser.evaluate(is_open), true);
    assert_calm(&browser);
}

#[test]
fn nothing_that_was_planted_runs() {
    let mut browser = Chromium::start();
    browser.open(&page("hostile", &hostile()));
    assert_eq!(browser.evaluate("document.title"), "Tenant isolation · pgwarden");
    assert_eq!(
        browser.evaluate(
            "document.querySelectorAll('img, iframe, object, svg svg, [onload], [onerror]').length"
        ),
        0
    );
    assert_eq!(browser.evaluate("document.scripts.length"), 1);
    // Every word of it is there to be read.
    assert_eq!(
        browser.evaluate(
            "document.body.textContent.includes(\"</script><img src=x onerror=document.title='owned'>\")"
        ),
        true
    );
    assert_eq!(
        browser.evaluate("[...document.links].every((link) => link.getAttribute('href').startsWith('#'))"),
        true
    );
    assert_calm(&browser);
}

/// What a reader who does not see it needs: one heading of the first level, no level left out, tables with captions and
/// headers, controls with labels, landmarks, and texts that stand out from what is behind them (WCAG 2.1, AA).
const ACCESSIBLE: &str = r#"(() => {
    const wrong = [];
    const levels = [...document.querySelectorAll("h1,h2,h3,h4")].map((one) => Number(one.tagName[1]));
    if (levels.filter((level) => level === 1).length !== 1) wrong.push("one h1");
    levels.forEach((level, at) => { if (at > 0 && level > levels[at - 1] + 1) wrong.push(`h${level} behind h${levels[at - 1]}`); });
    for (const table of document.querySelectorAll("table")) {
        if (!table.caption) wrong.push("a table without a caption");
        if ([...table.querySelectorAll("thead th")].some((one) => one.scope !== "col")) wrong.push("a header without a scope");
    }
    for (const one of document.querySelectorAll("select, input")) if (one.labels.length === 0) wrong.push(`${one.id} without a label`);
    for (const mark of ["header", "main", "footer", "nav"]) if (!document.querySelector(mark)) wrong.push(`no ${mark}`);
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    if (new Set(ids).size !== ids.length) wrong.push("an id twice");
    for (const one of document.querySelectorAll("[aria-labelledby]"))
        for (const id of one.getAttribute("aria-labelledby").split(" ")) if (!document.getElementById(id)) wrong.push(`nothing is called ${id}`);
    const channels = (color) => color.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (one) => {
        for (let at = one; at; at = at.parentElement) {
            const color = channels(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    for (const one of document.querySelectorAll("body *")) {
        const says = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
        if (!says || one.closest("svg, script, style, option") || !one.checkVisibility()) continue;
        const pair = [light(channels(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => b - a);
        const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
        if (contrast < 4.5) wrong.push(`${one.tagName}.${one.className} ${contrast.toFixed(2)}: ${one.textContent.slice(0, 30)}`);
    }
    return [...new Set(wrong)];
})()"#;

#[test]
fn it_can_be_read_in_the_light_in_the_dark_on_a_telephone_and_on_paper() {
    let mut browser = Chromium::start();
    let page = page("looks", &story());
    for (name, width, scheme) in [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 390, "light")]
    {
        browser.look(width, 900, scheme);
        browser.open(&page);
        browser.evaluate(
            "document.querySelectorAll('.findings details').forEach((one, at) => { one.open = at < 2; })",
        );
        keep(&format!("{name}.png"), &browser.screenshot());
        assert_eq!(browser.evaluate(ACCESSIBLE), json!([]), "{name}");
        let too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.evaluate(too_wide), 0, "{name}: it does not scroll sideways");
    }
    browser.look(1280, 900, "dark");
    let printed = browser.print();
    keep("print.pdf", &printed);
    assert!(BASE64_STANDARD.decode(printed).expect("base64").starts_with(b"%PDF-"));
    assert_calm(&browser);
}

#[test]
fn everything_is_reached_by_the_keyboard() {
    let mut browser = Chromium::start();
    browser.open(&page("keyboard", &story()));
    let mut press = |key: &str, code: u32| {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            browser.call("Input.dispatchKeyEvent", event);
        }
        let focus = "(document.activeElement.textContent || document.activeElement.id).trim().slice(0, 60)";
        browser.evaluate(focus).as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(press("Tab", 9), "Skip to the verdicts");
    assert_eq!(press("Tab", 9), "Verdicts");
    let mut reached = Vec::new();
    for _ in 0..60 {
        reached.push(press("Tab", 9));
    }
    for wanted in ["filter-words", "Show all", "blockerrows foreign · public.items · SELECT"] {
        assert!(reached.iter().any(|one| one.starts_with(wanted)), "{wanted}: {reached:#?}");
    }
}
