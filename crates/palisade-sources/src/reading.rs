//! What readers of objects share: a value with its path (`At`), typed access to it, and the problems found.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use palisade_core::{Diagnostic, Labels, Level};

use crate::spelling::distance;
use crate::tree::{Key, Node, Span, Value, duplicates, shortened};

/// The check of what the API server would refuse or drop, where no other check is about it.
const UNREADABLE: &str = "NP001";

/// Something wrong with an object, and where.
#[derive(Clone, Debug)]
pub struct Problem {
    pub level: Level,
    /// The check that it comes from, if one is about it.
    pub id: Option<&'static str>,
    pub span: Span,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    /// The diagnostic, without its place; `effect` is what errors mean for the object.
    pub fn diagnostic(self, object: Option<&str>, effect: Option<&str>) -> Diagnostic {
        Diagnostic {
            id: self.id,
            object: object.map(str::to_string),
            effect: effect.filter(|_| self.level == Level::Error).map(str::to_string),
            hint: self.hint,
            ..Diagnostic::new(self.level, self.message)
        }
    }
}

/// What goes on while objects are read: the problems of the present one, and the strings of all.
#[derive(Default)]
pub struct Reading {
    pub problems: Vec<Problem>,
    /// Labels and names repeat in every pod of a cluster: one copy of each.
    strings: HashSet<Arc<str>>,
    labels: HashSet<Arc<Labels>>,
    /// How many strings may come together before those that nobody uses are let go.
    strings_max: usize,
}

/// Fewer strings than this are not worth a look.
const STRINGS_MIN: usize = 1 << 10;

impl Reading {
    /// The one shared copy of a text.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        self.strings.insert(Arc::clone(&shared));
        shared
    }

    /// Lets go of the strings that no object has any more, now and then: the cost of a look is shared by as many
    /// strings as have come since the last one.
    pub fn tidy(&mut self) {
        if self.strings.len() + self.labels.len() > self.strings_max.max(STRINGS_MIN) {
            self.labels.retain(|labels| Arc::strong_count(labels) > 1);
            self.strings.retain(|text| Arc::strong_count(text) > 1);
            self.strings_max = (self.strings.len() + self.labels.len()) * 2;
        }
    }

    /// The one shared copy of the labels of a pod.
    pub fn share_labels(&mut self, labels: Labels) -> Arc<Labels> {
        if let Some(known) = self.labels.get(&labels) {
            return Arc::clone(known);
        }
        let shared = Arc::new(labels);
        self.labels.insert(Arc::clone(&shared));
        shared
    }

    /// Reports an error at a value.
    pub fn error(&mut self, at: &At<'_>, message: impl fmt::Display) {
        self.problem(Level::Error, at.node.span, at.says(message));
    }

    /// Reports a warning at a value.
    pub fn warning(&mut self, at: &At<'_>, message: impl fmt::Display) {
        self.problem(Level::Warning, at.node.span, at.says(message));
    }

    /// Adds what to do about the problem reported last.
    pub fn hint(&mut self, hint: impl Into<String>) {
        if let Some(problem) = self.problems.last_mut() {
            problem.hint = Some(hint.into());
        }
    }

    /// Says which check the problem reported last comes from.
    pub fn id(&mut self, id: &'static str) {
        if let Some(problem) = self.problems.last_mut() {
            problem.id = Some(id);
        }
    }

    /// Says which check the problems after the first `count` come from.
    pub fn id_from(&mut self, count: usize, id: &'static str) {
        for problem in self.problems.iter_mut().skip(count) {
            problem.id = Some(id);
        }
    }

    /// Reports a problem at a place.
    pub fn problem(&mut self, level: Level, span: Span, message: String) {
        let id = (level == Level::Error).then_some(UNREADABLE);
        self.problems.push(Problem { level, id, span, message, hint: None });
    }
}

/// A value and the path that leads to it. It prints as the path, as kubectl writes it: `spec.ingress[0].from`.
#[derive(Clone, Copy)]
pub struct At<'p> {
    parent: Option<&'p At<'p>>,
    step: Step<'p>,
    pub node: &'p Node<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Item(usize),
}

impl<'p> At<'p> {
    /// The object itself.
    pub fn root(node: &'p Node<'p>) -> At<'p> {
        At { parent: None, step: Step::Root, node }
    }

    /// A field; `None` if absent or null, which mean the same in the API.
    pub fn field(&'p self, name: &'p str) -> Option<At<'p>> {
        let node = self.node.get(name)?;
        Some(At { parent: Some(self), step: Step::Field(name), node })
    }

    /// A field that has to be there; `what` is what is expected in it.
    pub fn required(&'p self, name: &'p str, what: &str, reading: &mut Reading) -> Option<At<'p>> {
        let field = self.field(name);
        if field.is_none() {
            reading.error(self, format!("{name}: expected {what}, found nothing"));
        }
        field
    }

    /// A field that says what the file is.
    pub fn is_to_be(&'p self, name: &'p str, expected: &str, reading: &mut Reading) -> Option<()> {
        let at = self.required(name, expected, reading)?;
        let text = at.text(reading)?;
        if text != expected {
            reading.error(&at, format!("expected {expected}, found '{}'", shortened(text)));
            return None;
        }
        Some(())
    }

    /// The entries of a mapping; `None`, with a problem, if it is none.
    pub fn entries(&self, reading: &mut Reading) -> Option<&'p [(Key<'p>, Node<'p>)]> {
        match &self.node.value {
            Value::Map(entries) => Some(entries),
            other => {
                reading.error(self, format!("expected a mapping, found {other}"));
                None
            }
        }
    }

    /// The value of an entry of this mapping.
    pub fn entry(&'p self, (key, node): &'p (Key<'p>, Node<'p>)) -> At<'p> {
        At { parent: Some(self), step: Step::Field(&key.text), node }
    }

    /// The items of a list; `None`, with a problem, if it is none.
    pub fn items(&'p self, reading: &mut Reading) -> Option<impl ExactSizeIterator<Item = At<'p>> + use<'p>> {
        match &self.node.value {
            Value::List(items) => {
                let item = move |(index, node)| At { parent: Some(self), step: Step::Item(index), node };
                Some(items.iter().enumerate().map(item))
            }
            other => {
                reading.error(self, format!("expected a list, found {other}"));
                None
            }
        }
    }

    /// The text; `None`, with a problem, if it is something else.
    pub fn text(&self, reading: &mut Reading) -> Option<&'p str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            other => {
                reading.error(self, format!("expected text, found {other}"));
                if matches!(other, Value::Bool(_) | Value::Int(_) | Value::Float(_)) {
                    reading.hint("put it in quotes");
                }
                None
            }
        }
    }

    /// The number; `None`, with a problem, if it is something else.
    pub fn integer(&self, reading: &mut Reading) -> Option<i64> {
        let number = as_integer(&self.node.value);
        if number.is_none() {
            reading.error(self, format!("expected a whole number, found {}", self.node.value));
        }
        number
    }

    /// The boolean; `None`, with a problem, if it is something else.
    pub fn boolean(&self, reading: &mut Reading) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            other => {
                reading.error(self, format!("expected true or false, found {other}"));
                None
            }
        }
    }

    /// Reports keys that are unknown here or written twice. `Some` if the value is a mapping, and all is well with its keys.
    pub fn known_fields(&self, known: &[&str], level: Level, reading: &mut Reading) -> Option<()> {
        let entries = self.entries(reading)?;
        let mut well = true;
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&&*key.text)) {
            well = false;
            self.unknown_field(key, level, reading);
            reading.hint(match closest(&key.text, known) {
                Some(field) => format!("did you mean '{field}'?"),
                None => format!("known fields are {}", known.join(", ")),
            });
        }
        for key in duplicates(entries) {
            well = false;
            reading.problem(
                Level::Error,
                key.span,
                format!("{}: '{}' is written twice", self.or("top level"), shortened(&key.text)),
            );
        }
        well.then_some(())
    }

    /// Warns of keys that look like misspelt names of the fields that count. For mappings with many other fields, of which
    /// the next version of the API has more.
    pub fn misspelt_fields(&self, counting: &[&str], reading: &mut Reading) {
        let Value::Map(entries) = &self.node.value else { return };
        for (key, _) in entries.iter().filter(|(key, _)| !counting.contains(&&*key.text)) {
            if let Some(field) = closest(&key.text, counting) {
                self.unknown_field(key, Level::Warning, reading);
                reading.hint(format!("did you mean '{field}'?"));
            }
        }
    }

    fn unknown_field(&self, key: &Key<'_>, level: Level, reading: &mut Reading) {
        let message = format!("{}: unknown field '{}'", self.or("top level"), shortened(&key.text));
        reading.problem(level, key.span, message);
        reading.id(UNREADABLE);
    }

    /// A message about the value, after the path to it.
    fn says(&self, message: impl fmt::Display) -> String {
        match self.step {
            Step::Root => message.to_string(),
            _ => format!("{self}: {message}"),
        }
    }

    /// The path, or another word for the object itself.
    fn or(&self, root: &str) -> String {
        match self.step {
            Step::Root => root.to_string(),
            _ => self.to_string(),
        }
    }
}

/// A number without fraction: YAML hands `80.0` on as 80.
pub fn as_integer(value: &Value<'_>) -> Option<i64> {
    match *value {
        Value::Int(number) => Some(number),
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Some(number as i64),
        _ => None,
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Field(name) => {
                let dot = if self.parent.is_some_and(|parent| !matches!(parent.step, Step::Root)) { "." } else { "" };
                if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    write!(f, "{dot}{name}")
                } else {
                    write!(f, "[{}]", shortened(name))
                }
            }
        }
    }
}

/// The known name that a misspelt one most likely stands for.
fn closest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    // A name of another length is further away than what is accepted; nearly all are.
    let near = known.iter().filter(|name| name.len().abs_diff(text.len()) <= 2);
    let distances = near.map(|name| (distance(&text.to_lowercase(), &name.to_lowercase()), *name));
    let by_distance = distances.min()?;
    (by_distance.0 <= 2 && by_distance.0 < by_distance.1.len() / 2).then_some(by_distance.1)
}
