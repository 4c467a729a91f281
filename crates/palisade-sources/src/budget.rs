//! How much one text may hold, so that memory and time have an end whatever is in it.

/// How many values all documents of a text may have, in bytes some two gigabytes: small objects of 100,000 pods have half of them.
const VALUES_MAX: usize = 10_000_000;
/// How many documents of a text are told to be broken. A text with more of them is something else.
const BROKEN_MAX: usize = 1_000;

/// What is left of both.
#[derive(Debug)]
pub struct Budget {
    values: usize,
    broken: usize,
    counts_json: bool,
    /// Whether something was too much, which a broken document says.
    is_spent: bool,
}

impl Budget {
    /// That of a text.
    pub fn of(text: &str) -> Budget {
        // A value takes two bytes at least, so that nearly all texts need no counting.
        Budget { values: VALUES_MAX, broken: BROKEN_MAX, counts_json: text.len() / 2 >= VALUES_MAX, is_spent: false }
    }

    /// Takes values from it; if they are too many, nothing is left, and the message says so.
    pub fn take(&mut self, values: usize) -> Result<(), String> {
        let left = self.values.checked_sub(values);
        self.values = left.unwrap_or(0);
        self.is_spent |= left.is_none();
        left.map(|_| ()).ok_or_else(|| format!("more than {VALUES_MAX} values in one file"))
    }

    /// Takes the values of JSON, which its parser does not count, before they are read.
    pub fn take_json(&mut self, text: &str) -> Result<(), String> {
        self.take(if self.counts_json { marks(text) } else { 0 })
    }

    /// Takes a broken document from it; the last one has another message, since nothing is read behind it.
    pub fn take_broken(&mut self) -> Result<(), String> {
        self.broken = self.broken.saturating_sub(1);
        let last = || format!("{BROKEN_MAX} documents of one file cannot be read; the rest of it is not read");
        self.is_spent |= self.broken == 0;
        if self.broken == 0 { Err(last()) } else { Ok(()) }
    }

    /// Whether nothing more is read.
    pub fn is_spent(&self) -> bool {
        self.is_spent
    }
}

/// The marks of JSON behind each of which a value may stand.
fn marks(text: &str) -> usize {
    let (mut marks, mut in_text, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => marks += 1,
            _ => {}
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_in_text_are_no_values() {
        assert_eq!(marks(r#"{"a,[": "\",{", "b": [1, 2, {}]}"#), 6);
    }

    #[test]
    fn what_is_spent_stays_spent() {
        let mut budget = Budget::of("");
        assert!(budget.take(VALUES_MAX).is_ok() && !budget.is_spent());
        assert!(budget.take(1).is_err());
        assert!(budget.is_spent());
        let mut budget = Budget::of("");
        assert_eq!((1..=BROKEN_MAX + 1).find(|_| budget.take_broken().is_err()), Some(BROKEN_MAX));
    }
}
