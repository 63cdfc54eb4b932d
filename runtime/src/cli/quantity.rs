//! Amounts as people write them: `512m`, `1m30s`.

use std::time::Duration;

/// Bytes: a number, not negative, with an optional binary unit as docker and runc take it: `1024`, `512k`, `1.5g`, `64MiB`.
pub fn bytes(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let spelled = ["", "b", "ib"].iter().any(|s| unit.strip_suffix(s).is_some_and(|u| u.len() <= 1 && u != "b" && u != "i"));
    if !spelled || (shift == 0 && unit == "ib") {
        return None;
    }
    match number.parse::<i64>() {
        Ok(whole) => whole.checked_mul(1 << shift),
        // Fractions are small enough for a float's 53 bits to be exact where it matters.
        Err(_) if number.contains('.') && number.bytes().any(|b| b.is_ascii_digit()) => {
            let value = number.parse::<f64>().ok()? * (1i64 << shift) as f64;
            (value < i64::MAX as f64).then_some(value as i64)
        }
        Err(_) => None,
    }
}

/// A time as Go's time.ParseDuration takes it, not negative: `5s`, `1m30s`, `1.5h`, `250ms`.
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let next = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(next);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = behind;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory() {
        let mib = 1 << 20;
        for (text, want) in [
            ("0", 0),
            ("1024", 1024),
            ("1b", 1),
            ("512k", 512 << 10),
            ("64m", 64 * mib),
            ("64M", 64 * mib),
            ("64MB", 64 * mib),
            ("64MiB", 64 * mib),
            ("64 m", 64 * mib),
            ("1.5g", 1536 * mib),
            ("2t", 2 << 40),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "1x",
            "1mm",
            "1ibb",
            "1i",
            "1ib",
            "1bb",
            ".",
            "1..5g",
            "9223372036854775808",
            "9000p",
            "1e3",
            "\u{e9}",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (text, ms) in
            [("5s", 5000), ("1m30s", 90_000), ("250ms", 250), ("1.5h", 5_400_000), ("0", 0), ("0s", 0), (".5s", 500)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "5x", "1s2", "1 s", ".s", "1e400h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
