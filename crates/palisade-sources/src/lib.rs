//! Manifests, or the objects of an API server, to a [`Snapshot`] of the cluster, with diagnostics.
//!
//! [`read`] gets the text, the only I/O; [`parse`] does the rest and is total: broken input is normal, everything
//! readable is used, and a policy that cannot be read isolates what it selects.
//!
//! Read in this order: `document` (text to documents), `objects` (documents to objects, one reader a kind:
//! `network_policy`, `host_policy`, `ban_list`, `config_map`, `pod`, `workload`, `namespace`, `node`, `service`, over `metadata`, `selector`, `syntax` and
//! `reading`), `cluster` (objects to the snapshot), `placement` (nodes and addresses that the input leaves out).
//!
//! [`feed`] reads what the sources of ban lists hold.
//!
//! [`restrict_ip`] reads config files of kube-restrict-ip, which come beside the objects.
//!
//! [`node_allowlist`] reads the files of servers outside of clusters.
//!
//! [`flow_test`] reads what flows are expected to come to.
//! [`Written`] has policies as they are written, and what checks ask of other objects.
//!
//! [`live`] reads the objects of a running cluster, event by event, with the same readers of kinds.

mod addresses;
mod ban_list;
mod budget;
mod cluster;
mod config_map;
mod document;
pub mod feed;
pub mod flow_test;
mod host_policy;
mod json;
mod limits;
mod lines;
pub mod live;
mod metadata;
mod namespace;
mod network_policy;
mod node;
pub mod node_allowlist;
mod objects;
mod placement;
mod pod;
mod read;
mod reading;
mod report;
pub mod restrict_ip;
mod scalar;
mod selector;
mod service;
mod spelling;
mod syntax;
mod tree;
mod workload;
mod written;
mod yaml;

pub use ban_list::shortest_prefix;
pub use config_map::AGENT_NAMESPACE;
pub use limits::Limits;
pub use read::{ReadError, SourceFile, SourceText, read, read_files, read_text};
pub use spelling::distance;
pub use written::{Facts, FieldPath, Form, ObjectRef, Webhook, Written};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_core::{BanList, Diagnostic, Family, Snapshot};

use std::net::{Ipv4Addr, Ipv6Addr};

use document::Document;
use objects::Reader;
use report::Report;

/// What is invented where the input leaves it out, and how much is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many nodes there are if the input names none.
    pub nodes: usize,
    /// Where invented pod addresses come from: the first block of each family.
    pub pod_cidrs: Vec<IpNet>,
    /// Where invented node addresses come from: the first block of each family.
    pub node_cidrs: Vec<IpNet>,
    /// The families in which pods and nodes without addresses get one.
    pub families: Vec<Family>,
    /// How many pods of one workload are made at most; a few stand for all.
    pub replicas_max: usize,
    /// How much is read.
    pub limits: Limits,
    /// What time it is, in seconds since 1970: what has expired is left out. `None` is before anything expires.
    pub now: Option<i64>,
}

impl Default for Options {
    /// Two nodes; `10.244.0.0/16` and `fd44::/48` for pods, `10.99.0.0/24` and `fd99::/64` for nodes; both families; two pods
    /// a workload.
    fn default() -> Self {
        let v4 = |address: [u8; 4], length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(address), length));
        let v6 = |first, length| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length));
        Options {
            nodes: 2,
            pod_cidrs: vec![v4([10, 244, 0, 0], 16), v6(0xfd44, 48)],
            node_cidrs: vec![v4([10, 99, 0, 0], 24), v6(0xfd99, 64)],
            families: Family::ALL.to_vec(),
            replicas_max: 2,
            limits: Limits::default(),
            now: None,
        }
    }
}

/// What the input says.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The cluster it describes.
    pub snapshot: Snapshot,
    /// What is wrong with it, in the order of the input; what concerns no single place comes last.
    pub diagnostics: Vec<Diagnostic>,
    /// No verdict can be given: there is nothing in it that is an object, or a document is so broken that its namespace
    /// cannot be told, so that it might be a policy of any.
    pub no_answer: bool,
}

/// Reads manifests. Total, deterministic, without a clock and without I/O.
pub fn parse(sources: &[SourceText], options: &Options) -> Parsed {
    parse_each(sources, options, |_, _| {})
}

/// The same, with what checks ask of manifests as they are written.
pub fn parse_written<'a>(sources: &'a [SourceText], options: &Options) -> (Parsed, Written<'a>) {
    let mut written = Written::new(sources);
    let parsed = parse_each(sources, options, |number, document| written.add(number, document));
    (parsed, written)
}

/// Reads manifests, and hands each document on.
fn parse_each<'a>(sources: &'a [SourceText], options: &Options, mut each: impl FnMut(usize, Document<'a>)) -> Parsed {
    let mut report = Report::new(sources);
    let mut reader = Reader::new(&mut report, &options.limits);
    let mut documents = 0;
    for (number, source) in sources.iter().enumerate() {
        for document in document::documents(&source.text) {
            documents += 1;
            reader.document(number, &document);
            each(number, document);
        }
    }
    let Reader { objects, mut reading, untold, seen, .. } = reader;
    let no_answer = untold || (seen == 0 && documents > 0);
    let snapshot = cluster::snapshot(objects, options, &mut reading, &mut report);
    Parsed { snapshot, diagnostics: report.diagnostics, no_answer }
}

/// The ban lists of a text, their expired entries included and those of their sources not, and what is wrong with it.
pub fn ban_lists(source: &SourceText) -> (Vec<BanList>, Vec<Diagnostic>) {
    let sources = std::slice::from_ref(source);
    let mut report = Report::new(sources);
    let limits = Limits::default();
    let mut reader = Reader::new(&mut report, &limits);
    for document in document::documents(&source.text) {
        reader.document(0, &document);
    }
    let lists = std::mem::take(&mut reader.objects.ban_lists);
    (lists.into_values().map(|list| list.object).collect(), report.diagnostics)
}
