//! A context as it travels: as parameters of a prepared statement, and as SET LOCAL in a text.

use pgwarden_session::Carrier;

/// The setting that is the role of a transaction: `set_config('role', …, true)` is SET LOCAL ROLE (`check_role` in
/// `variable.c`), and its nothing is not empty but `none`.
pub const ROLE: &str = "role";

/// The OID of `bytea`: values travel as bytes, so that no client_encoding can break them.
const BYTEA: i32 = 17;

/// Encodes the values of the variables `names`, one value each.
#[must_use]
pub fn encode(names: &[&str], values: &[String]) -> Carrier {
    let blanks: Vec<String> = names.iter().map(|name| blank(name)).collect();
    let role = names.iter().zip(values).find(|(name, _)| **name == ROLE);
    Carrier {
        local: select(names, "true"),
        session: select(names, "false"),
        types: types(names.len()),
        values: parameters(values),
        empty: parameters(&blanks),
        text: assignments(names, values)
            .iter()
            .flat_map(|assignment| [b"SET LOCAL ".as_slice(), assignment, b"; "].concat())
            .collect(),
        statements: u32::try_from(names.len()).unwrap_or(u32::MAX),
        assignments: assignments(names, values),
        blanks: assignments(names, &blanks),
        role: role.map(|(_, value)| value.as_str().into()),
        sealing: None,
    }
}

/// The value of a variable that says nothing.
fn blank(name: &str) -> String {
    if name == ROLE { "none".to_owned() } else { String::new() }
}

/// `IS NULL`, because echoing a value can fail in a client encoding that cannot hold it, and need not be sent.
fn select(names: &[&str], local: &str) -> Vec<u8> {
    let calls: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let parameter = index + 1;
            let value = format!("pg_catalog.convert_from(${parameter}, 'UTF8')");
            format!("pg_catalog.set_config('{name}', {value}, {local}) IS NULL")
        })
        .collect();
    format!("SELECT {}", calls.join(", ")).into_bytes()
}

fn types(count: usize) -> Vec<u8> {
    let mut types = i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes().to_vec();
    types.extend(std::iter::repeat_n(BYTEA.to_be_bytes(), count).flatten());
    types
}

/// What follows the names in Bind: every parameter binary, every result text.
fn parameters(values: &[String]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 1];
    bytes.extend(i16::try_from(values.len()).unwrap_or(i16::MAX).to_be_bytes());
    for value in values {
        bytes.extend(i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    bytes.extend([0, 0]);
    bytes
}

fn assignments(names: &[&str], values: &[String]) -> Vec<Vec<u8>> {
    names
        .iter()
        .zip(values)
        .map(|(name, value)| format!("{} = {}", quoted(name), literal(value)).into_bytes())
        .collect()
}

/// Every part of a dotted name as a quoted identifier: a part may be a key word.
fn quoted(name: &str) -> String {
    name.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(".")
}

/// An ASCII literal that reads the same under every client_encoding and `standard_conforming_strings`.
fn literal(value: &str) -> String {
    let mut text = String::from("E'");
    for character in value.chars() {
        match character {
            '\'' => text.push_str("''"),
            '\\' => text.push_str("\\\\"),
            ' '..='~' => text.push(character),
            other => text.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_ascii_and_cannot_be_left() {
        let carrier = encode(&["app.a", "app.user"], &["x'; drop".into(), "\\é\n".into()]);
        assert_eq!(
            String::from_utf8(carrier.text).expect("ascii"),
            r#"SET LOCAL "app"."a" = E'x''; drop'; SET LOCAL "app"."user" = E'\\\U000000E9\U0000000A'; "#
        );
    }

    #[test]
    fn the_role_is_taken_back_as_none() {
        let carrier = encode(&["app.a", "role"], &["1".into(), "member".into()]);
        assert_eq!(carrier.role.as_deref(), Some("member"));
        assert_eq!(carrier.blanks, [br#""app"."a" = E''"#.to_vec(), br#""role" = E'none'"#.to_vec()]);
        assert_eq!(encode(&["app.role"], &["member".into()]).role, None);
    }

    #[test]
    fn the_statement_sets_every_variable_from_bytes() {
        let carrier = encode(&["app.a", "app.b"], &["1".into(), String::new()]);
        assert_eq!(
            String::from_utf8(carrier.local).expect("ascii"),
            "SELECT pg_catalog.set_config('app.a', pg_catalog.convert_from($1, 'UTF8'), true) IS NULL, \
             pg_catalog.set_config('app.b', pg_catalog.convert_from($2, 'UTF8'), true) IS NULL"
        );
        assert_eq!(carrier.types, [0, 2, 0, 0, 0, 17, 0, 0, 0, 17]);
        assert_eq!(carrier.values, [0, 1, 0, 1, 0, 2, 0, 0, 0, 1, b'1', 0, 0, 0, 0, 0, 0]);
    }
}
