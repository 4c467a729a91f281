//! Names from content: the same meaning has the same name, on every path to it and on every node.

use std::fmt::Write as _;
use std::sync::Arc;

use palisade_core::{Operator, Selector};
use sha2::{Digest, Sha256};

use crate::atom::{Atom, DeclaredPort, Who};

/// A text in which no two different values look the same: every part carries its length, every list its count.
#[derive(Default)]
pub struct Canonical(Sha256);

impl Canonical {
    /// Adds a part.
    pub fn text(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// Announces a list of so many items.
    pub fn list(&mut self, count: usize) {
        self.0.update((count as u64).to_be_bytes());
    }

    fn selector(&mut self, selector: &Selector) {
        self.list(selector.requirements().len());
        for requirement in selector.requirements() {
            self.text(&requirement.key);
            let (operator, values): (_, &[Arc<str>]) = match &requirement.operator {
                Operator::In(values) => ("In", values),
                Operator::NotIn(values) => ("NotIn", values),
                Operator::Exists => ("Exists", &[]),
                Operator::DoesNotExist => ("DoesNotExist", &[]),
            };
            self.text(operator);
            self.list(values.len());
            for value in values {
                self.text(value);
            }
        }
    }

    /// Adds an atom.
    pub fn atom(&mut self, atom: &Atom) {
        match &atom.who {
            Who::PodsOf(namespace, pods) => {
                self.text("of");
                self.text(namespace);
                self.selector(pods);
            }
            Who::PodsWhere(namespaces, pods) => {
                self.text("where");
                self.selector(namespaces);
                self.selector(pods);
            }
            Who::Block(cidr, except) => {
                self.text("block");
                self.text(&cidr.to_string());
                self.list(except.len());
                for block in except {
                    self.text(&block.to_string());
                }
            }
            Who::Nodes(selector) => {
                self.text("nodes");
                self.selector(selector);
            }
        }
        self.list(usize::from(atom.declares.is_some()));
        if let Some(DeclaredPort { name, transport, port }) = &atom.declares {
            self.text(name);
            self.text(transport.name());
            self.text(&port.to_string());
        }
    }

    /// 128 bits of SHA-256 in hex: nobody finds two meanings with one name.
    pub fn digest(self) -> Arc<str> {
        let mut hex = String::with_capacity(32);
        for byte in &self.0.finalize()[..16] {
            let _ = write!(hex, "{byte:02x}");
        }
        hex.into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use palisade_core::{Port, Requirement, Transport};

    use super::*;
    use crate::peers::Peers;

    fn requirement(key: &str, operator: Operator) -> Requirement {
        Requirement { key: key.into(), operator }
    }

    fn values(values: &[&str]) -> Vec<Arc<str>> {
        values.iter().map(|value| (*value).into()).collect()
    }

    fn atom(who: Who) -> Atom {
        Atom { who, declares: None }
    }

    fn declaring(name: &str, transport: Transport, port: u16) -> Atom {
        let declares = DeclaredPort { name: name.into(), transport, port: Port::new(port).unwrap() };
        Atom { who: Who::every_pod(), declares: Some(declares) }
    }

    /// Meanings that a careless encoding would give one name.
    #[test]
    fn different_meanings_have_different_names() {
        let selectors = [
            Selector::everything(),
            Selector::labels([("a", "b")]),
            Selector::labels([("b", "a")]),
            Selector::labels([("a", "")]),
            Selector::labels([("", "a")]),
            Selector::labels([("a", "b"), ("in", "b")]),
            Selector::labels([("a", "b"), ("b", "b")]),
            Selector::new(vec![requirement("a", Operator::In(values(&["b", "c"])))]),
            Selector::new(vec![requirement("a", Operator::In(values(&["bc"])))]),
            Selector::new(vec![requirement("a", Operator::In(values(&["b", "", "in", "c"])))]),
            Selector::new(vec![requirement("a", Operator::In(values(&[])))]),
            Selector::new(vec![requirement("a", Operator::NotIn(values(&["b"])))]),
            Selector::new(vec![requirement("a", Operator::Exists)]),
            Selector::new(vec![requirement("exists", Operator::In(values(&["a"])))]),
            Selector::new(vec![requirement("a", Operator::DoesNotExist)]),
            Selector::new(vec![requirement("a", Operator::Exists), requirement("b", Operator::Exists)]),
        ];
        let mut atoms: Vec<Atom> = Vec::new();
        for selector in &selectors {
            atoms.push(atom(Who::PodsOf("a".into(), selector.clone())));
            atoms.push(atom(Who::PodsOf("ab".into(), selector.clone())));
            atoms.push(atom(Who::PodsWhere(selector.clone(), Selector::everything())));
            atoms.push(atom(Who::PodsWhere(Selector::labels([("x", "y")]), selector.clone())));
            atoms.push(atom(Who::Nodes(selector.clone())));
        }
        let block = |cidr: &str, except: &[&str]| {
            let except = except.iter().map(|cidr| cidr.parse().unwrap()).collect();
            atom(Who::Block(cidr.parse().unwrap(), except))
        };
        atoms.push(block("10.0.0.0/8", &[]));
        atoms.push(block("10.0.0.0/8", &["10.1.0.0/16"]));
        atoms.push(block("10.0.0.0/8", &["10.1.0.0/16", "10.2.0.0/16"]));
        atoms.push(block("10.1.0.0/16", &[]));
        atoms.push(declaring("a", Transport::Tcp, 80));
        atoms.push(declaring("a", Transport::Udp, 80));
        atoms.push(declaring("a", Transport::Tcp, 8));
        atoms.push(declaring("b", Transport::Tcp, 80));

        let one = |atom: &Atom| BTreeSet::from([Arc::new(atom.clone())]);
        let mut meanings: BTreeSet<Peers> = atoms.iter().map(|atom| Peers::any_of(one(atom))).collect();
        for pair in atoms.windows(2) {
            meanings.insert(Peers::any_of(&one(&pair[0]) | &one(&pair[1])));
            meanings.insert(Peers::any_of(one(&pair[0])).and(Peers::any_of(one(&pair[1]))));
        }
        let names: BTreeSet<_> = meanings.iter().map(Peers::id).collect();
        assert_eq!(names.len(), meanings.len());
    }
}
