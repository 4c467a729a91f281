//! The syntax of names, labels and ports, as the API server checks it
//! (k8s.io/apimachinery `pkg/util/validation`). Each check answers with what was expected.

/// A DNS label (RFC 1123): names of namespaces.
pub fn dns_label(text: &str) -> Result<(), &'static str> {
    check(
        text.len() <= 63 && is_dns_label(text),
        "lower-case letters, digits and '-', at most 63 characters, with a letter or digit at both ends",
    )
}

/// A DNS subdomain (RFC 1123): names of most objects.
pub fn dns_subdomain(text: &str) -> Result<(), &'static str> {
    check(
        is_dns_subdomain(text),
        "lower-case letters, digits, '-' and '.', at most 253 characters, with a letter or digit at both ends of each part",
    )
}

/// The key of a label: a name, before which a DNS subdomain and `/` may stand.
pub fn label_key(text: &str) -> Result<(), &'static str> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    check(
        prefix.is_none_or(is_dns_subdomain) && is_qualified(name),
        "a label key: letters, digits, '-', '_' and '.', at most 63 characters, with a letter or digit at both ends, after an optional DNS name and '/'",
    )
}

/// The value of a label; it may be empty.
pub fn label_value(text: &str) -> Result<(), &'static str> {
    check(
        text.is_empty() || is_qualified(text),
        "a label value: letters, digits, '-', '_' and '.', at most 63 characters, with a letter or digit at both ends",
    )
}

/// The name of a port (`IANA_SVC_NAME`, RFC 6335 section 5.1).
pub fn port_name(text: &str) -> Result<(), &'static str> {
    let known = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let letter = text.bytes().any(|byte| byte.is_ascii_lowercase());
    let dashes = text.starts_with('-') || text.ends_with('-') || text.contains("--");
    check(
        known && letter && !dashes && text.len() <= 15,
        "a port name: lower-case letters, digits and single '-' between them, at least one letter, at most 15 characters",
    )
}

fn check(valid: bool, expected: &'static str) -> Result<(), &'static str> {
    if valid { Ok(()) } else { Err(expected) }
}

fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
        && bytes.first().is_some_and(|&byte| alphanumeric(byte))
        && bytes.last().is_some_and(|&byte| alphanumeric(byte))
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.len() <= 63
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_is_that_of_the_api_server() {
        type Check = fn(&str) -> Result<(), &'static str>;
        let check = |check: Check, valid: &[&str], invalid: &[&str]| {
            for text in valid {
                assert!(check(text).is_ok(), "{text} is valid");
            }
            for text in invalid {
                assert!(check(text).is_err(), "{text} is not valid");
            }
        };
        let long = |length: usize| "a".repeat(length);
        let dots = format!("{}.{}.{}.{}", long(63), long(63), long(63), long(61));
        check(dns_label, &["a", "a-1", "0", &long(63)], &["", "-a", "a-", "A", "a.b", "a_b", "é", &long(64)]);
        check(
            dns_subdomain,
            &["a", "a.b", "a-1.b", &long(100), &dots],
            &["", "a..b", ".a", "a.", "a.-b", "A", &format!("{dots}a")],
        );
        check(
            label_key,
            &["app", "App_1.x", "a.b/c", &long(63), &format!("{dots}/a")],
            &["", "/a", "a/", "a/b/c", "-a", "a-", "A.b/c", "a b", &long(64), "a/é"],
        );
        check(label_value, &["", "a", "A_1.x-y", &long(63)], &["-a", "a-", "a/b", "a b", &long(64)]);
        check(
            port_name,
            &["http", "a", "a-1", "1a", &long(15)],
            &["", "80", "Http", "a--b", "-a", "a-", "a_b", &long(16)],
        );
    }
}
