//! Addresses as other programs read them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use palisade_agent::chain;
use palisade_agent::files::{self, FileError};
use palisade_core::{AddressRange, AddressSet, Family};
use palisade_sources::node_allowlist::ExportFormat;
use serde::Serialize;
use serde_json::json;

use crate::cluster::{Cluster, shown};

/// Everybody who is admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// `metadata.name` of the list.
    pub name: Arc<str>,
    /// `spec.staticCIDRs`.
    pub static_cidrs: BTreeSet<IpNet>,
    /// Those of nodes, in the order of clusters, nodes and addresses.
    pub nodes: Vec<Admitted>,
}

/// An address of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admitted {
    /// The name of the cluster.
    pub cluster: Arc<str>,
    /// The name of the node.
    pub node: Arc<str>,
    /// The address, or the block.
    pub address: String,
    /// Of which type it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip)]
    net: IpNet,
}

/// What a template, and whoever reads JSON, is given.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    addresses: Vec<String>,
    ipv4: Vec<String>,
    ipv6: Vec<String>,
    #[serde(rename = "staticCIDRs")]
    static_cidrs: Vec<String>,
    nodes: &'a [Admitted],
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A template cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not there.
    #[error("there is no template {}", .0.display())]
    Missing(PathBuf),
    /// It cannot be filled in.
    #[error("the template {} cannot be filled in: {why}", path.display())]
    Template {
        /// Which.
        path: PathBuf,
        /// Why not, with its line.
        why: String,
    },
}

impl Addresses {
    /// Those of no cluster yet.
    pub fn of(name: &Arc<str>, static_cidrs: &[IpNet]) -> Addresses {
        Addresses { name: Arc::clone(name), static_cidrs: static_cidrs.iter().copied().collect(), nodes: Vec::new() }
    }

    /// Adds those of a cluster.
    pub fn add(&mut self, cluster: &Cluster) {
        for (node, known) in &cluster.state().nodes {
            let admitted = known.addresses.iter().map(|(net, stay)| Admitted {
                cluster: Arc::clone(cluster.name()),
                node: Arc::clone(node),
                address: shown(*net),
                kind: stay.kind.name(),
                net: *net,
            });
            self.nodes.extend(admitted);
        }
    }

    /// All of them, each once.
    pub fn all(&self) -> BTreeSet<IpNet> {
        self.nodes.iter().map(|admitted| admitted.net).chain(self.static_cidrs.iter().copied()).collect()
    }

    /// As text of a format, with a newline at its end.
    ///
    /// # Errors
    ///
    /// If a template cannot be read, or does not know what to do with the addresses.
    pub fn text(&self, format: &ExportFormat) -> Result<String, TextError> {
        let all = self.all();
        Ok(match format {
            ExportFormat::List => all.iter().map(|net| shown(*net) + "\n").collect(),
            ExportFormat::IpsetRestore => ipset_restore(&self.name, &all),
            ExportFormat::NftInclude => nft_include(&self.name, &all),
            ExportFormat::Json => format!("{:#}\n", json!(self.told())),
            ExportFormat::Template(path) => {
                let template = files::read(path)?.ok_or_else(|| TextError::Missing(path.clone()))?;
                let failed = |why: String| TextError::Template { path: path.clone(), why };
                let template = String::from_utf8(template).map_err(|error| failed(error.to_string()))?;
                fill(&template, self.told()).map_err(|error| failed(chain(&error)))?
            }
        })
    }

    fn told(&self) -> Told<'_> {
        let all = self.all();
        let written = |nets: &mut dyn Iterator<Item = &IpNet>| nets.map(|net| shown(*net)).collect();
        let of = |family| written(&mut all.iter().filter(|net| Family::of(net.addr()) == family));
        Told {
            name: &self.name,
            addresses: written(&mut all.iter()),
            ipv4: of(Family::V4),
            ipv6: of(Family::V6),
            static_cidrs: written(&mut self.static_cidrs.iter()),
            nodes: &self.nodes,
        }
    }
}

/// Fills a template in. What it names and is not there is an error: of a word that is misspelt nobody would be admitted.
fn fill(template: &str, told: Told<'_>) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).build()?);
    environment.render_str(template, Value::from(Serde(told)))
}

/// The two families, as names end that are made for them.
const FAMILIES: [(Family, &str, &str); 2] = [(Family::V4, "4", "inet"), (Family::V6, "6", "inet6")];

/// Fills new sets and swaps them with those that are there, so that no set is ever half full.
fn ipset_restore(name: &str, all: &BTreeSet<IpNet>) -> String {
    let mut text = String::new();
    for (family, suffix, family_name) in FAMILIES {
        // The kernel takes 31 bytes; the longest of ours is that of the new set.
        let set = format!("{}{suffix}", identifier(name, 29));
        let (new, maxelem) = (format!("{set}n"), all.len().next_power_of_two().max(65_536));
        for set in [&set, &new] {
            let _ = writeln!(text, "create {set} hash:net family {family_name} maxelem {maxelem} -exist");
        }
        let _ = writeln!(text, "flush {new}");
        for net in all.iter().filter(|net| Family::of(net.addr()) == family) {
            let _ = writeln!(text, "add {new} {}", shown(*net));
        }
        let _ = writeln!(text, "swap {new} {set}\ndestroy {new}");
    }
    text
}

/// Two sets, for within a table: other than a variable, a set may be empty.
fn nft_include(name: &str, all: &BTreeSet<IpNet>) -> String {
    let mut text = String::new();
    for (family, suffix, _) in FAMILIES {
        // In an interval set of nft nothing may overlap.
        let ranges: AddressSet = all.iter().filter(|net| Family::of(net.addr()) == family).collect();
        let nets: Vec<String> = ranges.iter().flat_map(AddressRange::blocks).map(shown).collect();
        let _ = writeln!(text, "set {}{suffix} {{", identifier(name, usize::MAX));
        let _ = writeln!(text, "\ttype ipv{suffix}_addr\n\tflags interval");
        if !nets.is_empty() {
            let _ = writeln!(text, "\telements = {{ {} }}", nets.join(", "));
        }
        text.push_str("}\n");
    }
    text
}

/// A name as these programs take it: a letter, then letters, digits and underscores.
fn identifier(name: &str, most: usize) -> String {
    let plain = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    let first = name.chars().next().filter(|first| !first.is_ascii_alphabetic()).map(|_| 'n');
    first.into_iter().chain(plain).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let admitted = |node: &str, address: &str| Admitted {
            cluster: "prod".into(),
            node: node.into(),
            address: address.to_string(),
            kind: "InternalIP",
            net: address.parse().or_else(|_| address.parse::<std::net::IpAddr>().map(IpNet::from)).unwrap(),
        };
        let nodes = vec![admitted("n1", "10.0.0.1"), admitted("n1", "fd00::1"), admitted("n2", "10.1.0.0/16")];
        let static_cidrs = [IpNet::from(std::net::IpAddr::from([10, 0, 0, 1]))].into();
        Addresses { name: "prod.db".into(), static_cidrs, nodes }
    }

    #[test]
    fn every_format_is_as_its_reader_wants_it() {
        let check = |format: &ExportFormat, expected: &str| assert_eq!(addresses().text(format).unwrap(), expected);
        check(&ExportFormat::List, "10.0.0.1\n10.1.0.0/16\nfd00::1\n");
        let ipset = "create prod_db4 hash:net family inet maxelem 65536 -exist\n\
                     create prod_db4n hash:net family inet maxelem 65536 -exist\nflush prod_db4n\n\
                     add prod_db4n 10.0.0.1\nadd prod_db4n 10.1.0.0/16\nswap prod_db4n prod_db4\ndestroy prod_db4n\n\
                     create prod_db6 hash:net family inet6 maxelem 65536 -exist\n\
                     create prod_db6n hash:net family inet6 maxelem 65536 -exist\nflush prod_db6n\n\
                     add prod_db6n fd00::1\nswap prod_db6n prod_db6\ndestroy prod_db6n\n";
        check(&ExportFormat::IpsetRestore, ipset);
        let nft = "set prod_db4 {\n\ttype ipv4_addr\n\tflags interval\n\telements = { 10.0.0.1, 10.1.0.0/16 }\n}\n\
                   set prod_db6 {\n\ttype ipv6_addr\n\tflags interval\n\telements = { fd00::1 }\n}\n";
        check(&ExportFormat::NftInclude, nft);
        let json: serde_json::Value = serde_json::from_str(&addresses().text(&ExportFormat::Json).unwrap()).unwrap();
        assert_eq!(json["ipv6"], json!(["fd00::1"]));
        assert_eq!(
            json["nodes"][2],
            json!({"cluster": "prod", "node": "n2", "address": "10.1.0.0/16", "type": "InternalIP"})
        );
        let empty = Addresses { name: "a".into(), ..Addresses::default() };
        assert!(!empty.text(&ExportFormat::NftInclude).unwrap().contains("elements"));
        assert_eq!(empty.text(&ExportFormat::List).unwrap(), "");
    }

    #[test]
    fn a_template_is_filled_in_or_told_to_be_wrong() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fill = |template: &str| {
            files::replace(file.path(), template.as_bytes()).unwrap();
            addresses().text(&ExportFormat::Template(file.path().to_owned())).map_err(|error| error.to_string())
        };
        let lines = "{% for node in nodes if node.cluster == 'prod' %}allow {{ node.address }}; # {{ node.node }}\n{% endfor %}\n";
        assert_eq!(fill(lines).unwrap(), "allow 10.0.0.1; # n1\nallow fd00::1; # n1\nallow 10.1.0.0/16; # n2\n");
        assert_eq!(fill("{{ ipv4 | join(',') }}\n").unwrap(), "10.0.0.1,10.1.0.0/16\n");
        for wrong in ["{{ nodess }}", "{% for %}", "{{ ipv4 | nonsense }}"] {
            let error = fill(wrong).unwrap_err();
            assert!(error.contains("cannot be filled in: ") && error.contains(":1"), "{error}");
        }
        let missing = ExportFormat::Template("/nonexistent".into());
        assert_eq!(addresses().text(&missing).unwrap_err().to_string(), "there is no template /nonexistent");
    }

    #[test]
    fn names_fit_everywhere() {
        assert_eq!(identifier("10-prod.db", 29), "n10_prod_db");
        assert_eq!(identifier(&"a".repeat(60), 29).len(), 29);
    }
}
