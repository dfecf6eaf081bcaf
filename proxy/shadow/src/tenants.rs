//! Whose rows a context may see, as bytes in the forms in which columns come.

use pgwarden_session::Formats;
use std::sync::OnceLock;

/// What values of a tenant column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// `uuid`.
    Uuid,
    /// An integer of so many bytes (`int2`, `int4`, `int8`, `oid`).
    Integer(usize),
    /// `text`, `varchar`, `name`, enums: the same bytes in both formats.
    Text,
    /// `char(n)`: blanks at the end count for nothing.
    Blanked,
    /// `numeric`, in text.
    Numeric,
}

/// The format of a value on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As text.
    Text,
    /// As the type's `send` function writes it.
    Binary,
}

impl Format {
    /// The format of column `index`, which says itself that it is `said`.
    #[must_use]
    pub fn of(formats: &Formats, index: usize, said: i16) -> Option<Self> {
        let code = match formats {
            Formats::Said => said,
            Formats::Unknown => return None,
            Formats::Given(codes) => match &**codes {
                [] => 0,
                [all] => *all,
                each => *each.get(index)?,
            },
        };
        match code {
            0 => Some(Self::Text),
            1 => Some(Self::Binary),
            _ => None,
        }
    }
}

impl ValueKind {
    /// The kind for a column of this base type; `None` where bytes cannot be compared. `category` is `pg_type.typtype`.
    #[must_use]
    pub fn of(base: u32, category: char) -> Option<Self> {
        match base {
            2950 => Some(Self::Uuid),
            21 => Some(Self::Integer(2)),
            23 | 26 => Some(Self::Integer(4)),
            20 => Some(Self::Integer(8)),
            19 | 25 | 1043 => Some(Self::Text),
            1042 => Some(Self::Blanked),
            1700 => Some(Self::Numeric),
            // Of types that are no part of PostgreSQL nothing is known (`citext`), except that an enum is its label.
            _ => (category == 'e').then_some(Self::Text),
        }
    }

    /// A value for people; a length that does not fit shows nothing.
    #[must_use]
    pub fn show(self, value: &[u8], format: Format) -> String {
        let shown = match (self, format) {
            (Self::Uuid, Format::Binary) => value.try_into().ok().map(|bytes| hyphenated(&bytes)),
            (Self::Integer(_), Format::Binary) => integer(value).map(|number| number.to_string()),
            _ => None,
        };
        shown.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(value);
            text.chars().filter(|one| !one.is_control()).take(LONGEST_SHOWN).collect()
        })
    }
}

const LONGEST_SHOWN: usize = 100;

/// Tenants, and their forms as far as anybody has asked for them.
#[derive(Debug)]
pub struct TenantSet {
    ids: Vec<String>,
    forms: [OnceLock<Vec<Vec<u8>>>; 8],
}

impl TenantSet {
    /// Of these tenants.
    #[must_use]
    pub fn new(ids: Vec<String>) -> Self {
        Self { ids, forms: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether texts in another encoding than UTF-8 can be compared.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.ids.iter().all(|id| id.is_ascii())
    }

    /// Whether a value is one of them; `None` where that cannot be told.
    #[must_use]
    #[inline]
    pub fn holds(&self, value: &[u8], kind: ValueKind, format: Format) -> Option<bool> {
        let held = |form: usize, value: &[u8]| {
            let forms = self.forms.get(form)?.get_or_init(|| self.form(form));
            Some(match forms.as_slice() {
                [one] => one == value,
                many => many.binary_search_by(|one| one.as_slice().cmp(value)).is_ok(),
            })
        };
        match (kind, format) {
            (ValueKind::Uuid, Format::Text) => held(0, value),
            (ValueKind::Uuid, Format::Binary) => held(1, value),
            (ValueKind::Integer(_), Format::Text) => held(2, value),
            (ValueKind::Integer(2), Format::Binary) => held(3, value),
            (ValueKind::Integer(4), Format::Binary) => held(4, value),
            (ValueKind::Integer(_), Format::Binary) => held(5, value),
            (ValueKind::Text, _) => held(6, value),
            (ValueKind::Blanked, _) => {
                let value = unpadded(value);
                Some(self.ids.iter().any(|id| unpadded(id.as_bytes()) == value))
            }
            (ValueKind::Numeric, Format::Text) => {
                let value = decimal(std::str::from_utf8(value).ok()?)?;
                Some(self.ids.iter().any(|id| decimal(id).as_deref() == Some(&*value)))
            }
            (ValueKind::Numeric, Format::Binary) => None,
        }
    }

    /// The tenants in one form; one that has no such form is no value of the type.
    fn form(&self, form: usize) -> Vec<Vec<u8>> {
        let one = |id: &String| -> Option<Vec<u8>> {
            let number = || id.trim().parse::<i64>().ok();
            Some(match form {
                0 => hyphenated(&uuid(id)?).into_bytes(),
                1 => uuid(id)?.to_vec(),
                2 => number()?.to_string().into_bytes(),
                3 => i16::try_from(number()?).ok()?.to_be_bytes().to_vec(),
                // The bytes of an oid are those of the number without a sign.
                4 => {
                    let number = number()?;
                    let unsigned = || u32::try_from(number).ok().map(u32::to_be_bytes);
                    i32::try_from(number).ok().map(i32::to_be_bytes).or_else(unsigned)?.to_vec()
                }
                5 => number()?.to_be_bytes().to_vec(),
                _ => id.clone().into_bytes(),
            })
        };
        let mut forms: Vec<Vec<u8>> = self.ids.iter().filter_map(one).collect();
        forms.sort_unstable();
        forms.dedup();
        forms
    }
}

fn unpadded(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    value.get(..end).unwrap_or_default()
}

/// A UUID in any of the spellings that `uuid_in` takes.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let text = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let digits: Vec<u32> =
        text.chars().filter(|one| *one != '-').map(|one| one.to_digit(16)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte * 16 + digit)).ok())
        .collect();
    (digits.len() == 32).then(|| bytes.try_into().ok()).flatten()
}

fn hyphenated(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

fn integer(value: &[u8]) -> Option<i64> {
    match value.len() {
        2 => value.try_into().ok().map(i16::from_be_bytes).map(i64::from),
        4 => value.try_into().ok().map(i32::from_be_bytes).map(i64::from),
        8 => value.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    }
}

/// A decimal number without what makes no difference; `None` for what is none, infinities and exponents included.
fn decimal(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || digits == "." || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let sign = if whole.is_empty() && fraction.is_empty() { "" } else { sign };
    Some(format!("{sign}{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";

    fn set(ids: &[&str]) -> TenantSet {
        TenantSet::new(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn a_uuid_is_the_same_in_every_spelling_and_both_formats() {
        for spelling in [ID, &ID.to_lowercase(), &format!("{{{ID}}}"), &ID.replace('-', "")] {
            let tenants = set(&[spelling]);
            let text = ID.to_lowercase();
            assert_eq!(
                tenants.holds(text.as_bytes(), ValueKind::Uuid, Format::Text),
                Some(true),
                "{spelling}"
            );
            let binary = uuid(ID).expect("a uuid");
            assert_eq!(tenants.holds(&binary, ValueKind::Uuid, Format::Binary), Some(true));
            assert_eq!(tenants.holds(&[0; 16], ValueKind::Uuid, Format::Binary), Some(false));
            assert_eq!(ValueKind::Uuid.show(&binary, Format::Binary), text);
        }
    }

    #[test]
    fn integers_are_compared_in_the_width_of_their_column() {
        let tenants = set(&["7", "300"]);
        for (width, bytes) in [
            (2, 300_i16.to_be_bytes().to_vec()),
            (4, 300_i32.to_be_bytes().to_vec()),
            (8, 300_i64.to_be_bytes().to_vec()),
        ] {
            let kind = ValueKind::Integer(width);
            assert_eq!(tenants.holds(&bytes, kind, Format::Binary), Some(true), "{width}");
            assert_eq!(tenants.holds(&[0; 8][..width], kind, Format::Binary), Some(false));
            assert_eq!(kind.show(&bytes, Format::Binary), "300");
        }
        assert_eq!(tenants.holds(b"300", ValueKind::Integer(4), Format::Text), Some(true));
        assert_eq!(tenants.holds(b"30", ValueKind::Integer(4), Format::Text), Some(false));
    }

    #[test]
    fn what_is_equal_to_the_server_is_equal_here() {
        assert_eq!(set(&["ab"]).holds(b"ab   ", ValueKind::Blanked, Format::Text), Some(true));
        assert_eq!(set(&["ab"]).holds(b"ab ", ValueKind::Text, Format::Text), Some(false));
        assert_eq!(set(&["7"]).holds(b"7.00", ValueKind::Numeric, Format::Text), Some(true));
        assert_eq!(set(&["-0"]).holds(b"0.0", ValueKind::Numeric, Format::Text), Some(true));
        assert_eq!(set(&["7"]).holds(b"7.01", ValueKind::Numeric, Format::Text), Some(false));
        assert_eq!(set(&["7"]).holds(b"NaN", ValueKind::Numeric, Format::Text), None);
        assert_eq!(set(&["7"]).holds(b"\0\x01", ValueKind::Numeric, Format::Binary), None);
    }

    #[test]
    fn a_tenant_that_is_no_value_of_the_type_has_no_rows() {
        assert_eq!(set(&["acme"]).holds(b"1", ValueKind::Integer(4), Format::Text), Some(false));
        assert_eq!(set(&[]).holds(b"1", ValueKind::Text, Format::Text), Some(false));
    }

    #[test]
    fn the_formats_of_bind_hold_for_all_columns_or_for_each() {
        let given = |codes: &[i16]| Formats::Given(codes.into());
        assert_eq!(Format::of(&given(&[]), 3, 1), Some(Format::Text));
        assert_eq!(Format::of(&given(&[1]), 3, 0), Some(Format::Binary));
        assert_eq!(Format::of(&given(&[0, 1]), 1, 0), Some(Format::Binary));
        assert_eq!(Format::of(&given(&[0, 1]), 2, 0), None);
        assert_eq!(Format::of(&Formats::Said, 2, 1), Some(Format::Binary));
        assert_eq!((Format::of(&Formats::Unknown, 0, 0), Format::of(&given(&[2]), 0, 0)), (None, None));
    }
}
