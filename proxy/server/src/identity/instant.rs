//! Points in time, as a look-up answers them.

/// Reads a point in time: `timestamptz` as PostgreSQL prints it in ISO style and UTC (`EncodeDateTime`, `datetime.c`),
/// or a number of seconds since 1970. Fractions are cut off; what is before 1970 counts as 1970, and `infinity` as the
/// end of all times. `None` for anything else, a time without a time zone among it.
pub(super) fn seconds(text: &str) -> Option<u64> {
    match text {
        "infinity" => return Some(u64::MAX),
        "-infinity" => return Some(0),
        _ if text.ends_with(" BC") => return Some(0),
        _ => (),
    }
    let Some((date, time)) = text.split_once(' ') else { return number(text) };
    let time = time.strip_suffix("+00")?;
    let [year, month, day] = parts(date, '-')?;
    let [hour, minute, second] = parts(time.split_once('.').map_or(time, |(whole, _)| whole), ':')?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(u64::try_from(seconds).unwrap_or(0))
}

fn number(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    Some(u64::try_from(whole).unwrap_or(0))
}

fn parts(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut numbers = text.splitn(3, separator).map(|part| {
        let is_number = !part.is_empty() && part.len() <= 6 && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { part.parse::<i64>().ok() } else { None }
    });
    let mut next = || numbers.next().flatten();
    Some([next()?, next()?, next()?])
}

/// Days since 1970-01-01 in the Gregorian calendar, by counting years from March on: the leap day comes last then.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_postgresql_prints_them() {
        for (text, expected) in [
            ("1970-01-01 00:00:00+00", 0),
            ("1970-01-02 00:00:01+00", 86_401),
            ("2000-02-29 12:34:56.789+00", 951_827_696),
            ("2026-11-21 18:40:41.5+00", 1_795_286_441),
            ("12026-11-21 00:00:00+00", 317_364_739_200),
            ("1969-12-31 23:59:59+00", 0),
            ("4713-01-01 00:00:00+00 BC", 0),
            ("infinity", u64::MAX),
            ("-infinity", 0),
            ("1795286441", 1_795_286_441),
            ("1795286441.123456", 1_795_286_441),
            ("-5", 0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_point_in_time() {
        for text in [
            "",
            "soon",
            "2026-11-21",
            "2026-11-21 18:40:41",
            "2026-11-21 18:40:41+02",
            "21/11/2026 18:40:41 UTC",
            "1e9",
            "1.",
            "2026-11 18:40+00",
            "18:40:41+00",
            "2026-11-21 +00",
            "99999999-11-21 00:00:00+00",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
