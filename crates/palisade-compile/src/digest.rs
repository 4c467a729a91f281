//! Names from content: the same meaning has the same name, on every path to it and on every node.

use std::fmt::Write as _;
use std::sync::Arc;

use palisade_core::{Operator, Selector};
use sha2::{Digest, Sha256};

use crate::atom::{Atom, DeclaredPort, Who};

/// A text in which no two different values look the same: every part carries its length.
#[derive(Default)]
pub struct Canonical(Sha256);

impl Canonical {
    /// Adds a part.
    pub fn text(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn texts(&mut self, parts: &[Arc<str>]) {
        for part in parts {
            self.text(part);
        }
    }

    fn selector(&mut self, selector: &Selector) {
        self.text("selector");
        for requirement in selector.requirements() {
            self.text(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => {
                    self.text("in");
                    self.texts(values);
                }
                Operator::NotIn(values) => {
                    self.text("notin");
                    self.texts(values);
                }
                Operator::Exists => self.text("exists"),
                Operator::DoesNotExist => self.text("absent"),
            }
            self.text("");
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
                for block in except {
                    self.text(&block.to_string());
                }
            }
        }
        if let Some(DeclaredPort { name, transport, port }) = &atom.declares {
            self.text("declares");
            self.text(name);
            self.text(transport.name());
            self.text(&port.to_string());
        }
        self.text("");
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
