//! The definition of the kind `BanList` (palisade.dev/v1alpha1), by which the API server refuses what cannot be read.
//!
//! What a list means is read by `palisade_sources`, from manifests and from the API server alike; these types are only the form of it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;

use crate::definition::{Enforcement, PodsPeer, policy_definition};

/// The kind.
pub const KIND: &str = "BanList";
/// Its name in paths.
pub const PLURAL: &str = "banlists";

/// Addresses with which nobody may speak, whichever side begins.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!has(self.limits) || has(self.source)", "message": "limits are those of a source, and there is none" },
]))]
#[expect(dead_code, reason = "only its schema is used")]
struct BanListSpec {
    /// Whether packets are dropped (Enforce), or only counted and logged (Audit).
    #[schemars(default = "Enforcement::enforce")]
    enforcement: Enforcement,
    /// The pods that may not speak with them; absent is every pod and every node.
    target: Option<PodsPeer>,
    /// What is banned. Entries may overlap. Addresses of nodes and pods, and those without which IP does not work, are spared.
    #[schemars(length(max = 16384), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["cidr"]))]
    entries: Option<Vec<BanEntry>>,
    /// Where more entries come from: lists of addresses, one a line, with reasons or without; CSV and JSON lines, too.
    source: Option<BanSource>,
    /// What of the source is taken for a list; of what is not, the last good one stays in force.
    limits: Option<BanLimits>,
    /// What this list does not ban, whatever its entries say.
    #[schemars(length(max = 1024), inner(length(max = 43)))]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self.all(except, isCIDR(except))", "message": "each must be a CIDR, as in 10.0.0.0/8 or fd00::/8" },
    ]))]
    #[schemars(rename = "exceptCIDRs")]
    except_cidrs: Option<Vec<String>>,
}

/// Where more entries come from.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.file), has(self.configMapRef), has(self.http)].filter(given, given).size() == 1",
        "message": "one of file, configMapRef and http is needed",
    },
]))]
#[expect(dead_code, reason = "only its schema is used")]
struct BanSource {
    /// A file of each node, below the directory that its agent is told with --ban-files.
    file: Option<FileSource>,
    /// A ConfigMap in the namespace of the agents.
    config_map_ref: Option<ConfigMapSource>,
    /// A feed, fetched by one agent for all.
    http: Option<HttpSource>,
}

/// A file of each node.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct FileSource {
    /// Its path below the directory, as drop.txt or feeds/drop.txt.
    #[schemars(length(min = 1, max = 1024))]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "!self.split('/').exists(part, part in ['', '.', '..'])", "message": "it must stay below the directory" },
        { "rule": "!self.matches('[[:cntrl:]]')", "message": "it must have no control characters" },
    ]))]
    path: String,
}

/// A `ConfigMap` in the namespace of the agents; all its texts count.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct ConfigMapSource {
    /// Its name.
    #[schemars(length(min = 1, max = 253), extend("pattern" = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    name: String,
}

/// A feed.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct HttpSource {
    /// Its address, http or https.
    #[schemars(length(max = 2048))]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self.matches('^https?://[^[:space:]]+$')", "message": "it must be an address such as https://feeds.example/drop.txt" },
    ]))]
    url: String,
    /// How long after it was fetched it is fetched again.
    #[schemars(range(min = 60, max = 2_592_000))]
    interval_seconds: Option<u32>,
}

/// What of a source is taken for a list.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.minEntries) || !has(self.maxEntries) || self.minEntries <= self.maxEntries",
        "message": "minEntries must not be more than maxEntries",
    },
]))]
#[expect(dead_code, reason = "only its schema is used")]
struct BanLimits {
    /// The fewest entries; 1 if absent.
    #[schemars(range(min = 0, max = 10_000_000))]
    min_entries: Option<u32>,
    /// The most entries; 1,000,000 if absent.
    #[schemars(range(min = 0, max = 10_000_000))]
    max_entries: Option<u32>,
    /// How many entries may come or go at once, in percent of the last good ones; if absent 50 for http, and any number for others.
    #[schemars(range(min = 0, max = 1_000_000))]
    max_change_percent: Option<u32>,
}

/// A block of addresses.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "isCIDR(self.cidr)", "message": "cidr must be one, as in 203.0.113.7/32 or 2001:db8::/32" },
    {
        "rule": "!isCIDR(self.cidr) || has(self.force) && self.force || cidr(self.cidr).prefixLength() >= (cidr(self.cidr).ip().family() == 4 ? 8 : 16)",
        "message": "more than /8 of IPv4 or /16 of IPv6 needs force: true",
    },
]))]
#[expect(dead_code, reason = "only its schema is used")]
struct BanEntry {
    /// The block; one address is /32, or /128.
    #[schemars(length(max = 43))]
    cidr: String,
    /// From when on it is not banned any more.
    expires_at: Option<Time>,
    /// Why it is banned, for people.
    #[schemars(length(max = 256))]
    reason: Option<String>,
    /// That more than /8 of IPv4, or /16 of IPv6, is meant.
    force: Option<bool>,
}

/// The definition of the kind, as `deploy/base` installs it.
///
/// # Errors
///
/// None that can happen: what is written here is a definition.
pub fn ban_list_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    policy_definition::<BanListSpec>(
        [KIND, PLURAL, "banlist"],
        "Addresses with which nobody may speak, whichever side begins.",
        &[
            ("Enforcement", "string", ".spec.enforcement", "Whether packets are dropped, or only counted"),
            ("Source", "string", ".status.conditions[?(@.type=='Fetched')].reason", "How its source is, if it has one"),
        ],
    )
}
