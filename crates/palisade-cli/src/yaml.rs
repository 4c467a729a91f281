//! YAML for people and for `kubectl apply`, from JSON values.

use serde_json::Value;

/// The value in block style, without a final line break.
pub fn to_yaml(value: &Value) -> String {
    lines(value).join("\n")
}

fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().flat_map(|(key, value)| field(&scalar(&Value::from(key.as_str())), value)).collect()
        }
        Value::Array(items) if !items.is_empty() => items.iter().flat_map(item).collect(),
        value => vec![scalar(value)],
    }
}

fn field(key: &str, value: &Value) -> Vec<String> {
    let lines = lines(value);
    if is_block(value) {
        let indent = if value.is_object() { "  " } else { "" };
        let below = lines.into_iter().map(|line| format!("{indent}{line}"));
        return [format!("{key}:")].into_iter().chain(below).collect();
    }
    vec![format!("{key}: {}", lines.concat())]
}

fn item(value: &Value) -> Vec<String> {
    let mut lines = lines(value);
    for (index, line) in lines.iter_mut().enumerate() {
        line.insert_str(0, if index == 0 { "- " } else { "  " });
    }
    lines
}

fn is_block(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty())
        || value.as_array().is_some_and(|items| !items.is_empty())
}

/// As JSON, which is YAML, but for words that mean nothing else in any version of it.
fn scalar(value: &Value) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = |text: &&str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"./-_".contains(&byte);
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(known)
            && !WORDS.contains(&text.to_ascii_lowercase().as_str())
    };
    value.as_str().filter(is_word).map_or_else(|| value.to_string(), str::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_stand_in_blocks() {
        let value = json!({
            "kind": "Tier",
            "spec": { "order": 10, "selector": {}, "names": ["a", "yes", "1", "a: b", "it's"], "rules": [{ "a": { "b": true }, "c": null }, []] },
        });
        let expected = "\
kind: Tier
spec:
  order: 10
  selector: {}
  names:
  - a
  - \"yes\"
  - \"1\"
  - \"a: b\"
  - \"it's\"
  rules:
  - a:
      b: true
    c: null
  - []";
        assert_eq!(to_yaml(&value), expected);
    }
}
