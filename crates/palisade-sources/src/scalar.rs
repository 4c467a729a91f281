//! What a plain YAML scalar means: YAML 1.1 as the Go libraries behind kubectl resolve it, not YAML 1.2.

use std::borrow::Cow;

use crate::tree::Value;

/// The value of an unquoted, untagged scalar.
pub fn plain(text: Cow<'_, str>) -> Value<'_> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        other => match number(other) {
            Some(value) => value,
            None => Value::Text(text),
        },
    }
}

fn number(text: &str) -> Option<Value<'static>> {
    let first = *text.as_bytes().first()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let text = text.replace('_', "");
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, &text[..]),
    };
    if let Some(magnitude) = integer(digits) {
        let value = if negative { -magnitude } else { magnitude };
        return Some(i64::try_from(value).map_or_else(
            // Beyond 64 bits Go falls back to a float as well.
            |_| digits.parse().map_or(Value::Float(f64::INFINITY), Value::Float),
            Value::Int,
        ));
    }
    // As in Go, 089 is no octal number and so a decimal float.
    let is_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let value: f64 = if is_float { digits.parse().ok()? } else { return None };
    Some(Value::Float(if negative { -value } else { value }))
}

/// Digits with an optional base prefix; a leading 0 means octal.
fn integer(digits: &str) -> Option<i128> {
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own.
    digits.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| i128::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_kubectl_reads() {
        let check = |text: &'static str, expected: Value| assert_eq!(plain(text.into()), expected, "{text}");
        check("yes", Value::Bool(true));
        check("Off", Value::Bool(false));
        check("~", Value::Null);
        check("", Value::Null);
        check("80", Value::Int(80));
        check("-80", Value::Int(-80));
        check("0777", Value::Int(511));
        check("0x50", Value::Int(80));
        check("0b11", Value::Int(3));
        check("1_000", Value::Int(1000));
        check("80.0", Value::Float(80.0));
        check("089", Value::Float(89.0));
        check("1e3", Value::Float(1000.0));
        check("99999999999999999999", Value::Float(1e20));
        for text in
            ["10.0.0.0/8", "1.2.3", "TCP", "-", "--", "+-1", "0x", "1:30", "2024-01-01", "0xg", "e3", ".", "-.", "yEs"]
        {
            check(text, Value::Text(text.into()));
        }
    }
}
