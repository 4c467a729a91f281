//! `palisade ban`, `unban` and `bans`: single bans at the API server, and who is banned by which list.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use ipnet::IpNet;
use palisade_agent::Timestamp;
use palisade_agent::bans::{BanError, BanLists, Entry, MANUAL};
use palisade_core::{BanEntry, Snapshot};
use palisade_sim::{Standing, standings};
use serde_json::{Value, json};

use crate::args::OutputFormat;
use crate::ban_policies::{self, Engine};
use crate::output::{Exit, with_hint};
use crate::wait::milliseconds;

/// Which API server.
#[derive(Args, Debug)]
struct ServerArguments {
    /// The API server [default: what kubectl takes]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// `palisade ban`.
#[derive(Args, Debug)]
pub struct BanArguments {
    /// An address, or a block of them
    #[arg(value_name = "CIDR", value_parser = block)]
    cidr: IpNet,

    /// For how long: 30m, 1h, 168h [default: until it is unbanned]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Option<Duration>,

    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// The BanList that gets the entry; it is made if it is not there
    #[arg(long, value_name = "NAME", default_value = MANUAL, value_parser = list_name)]
    list: String,

    /// Ban more than /8 of IPv4, or /16 of IPv6
    #[arg(long)]
    force: bool,

    /// Where.
    #[command(flatten)]
    server: ServerArguments,
}

/// `palisade unban`.
#[derive(Args, Debug)]
pub struct UnbanArguments {
    /// The address, or block, as it was banned
    #[arg(value_name = "CIDR", value_parser = block)]
    cidr: IpNet,

    /// The BanList that loses the entry
    #[arg(long, value_name = "NAME", default_value = MANUAL, value_parser = list_name)]
    list: String,

    /// Where.
    #[command(flatten)]
    server: ServerArguments,
}

/// `palisade bans`.
#[derive(Args, Debug)]
pub struct BansArguments {
    /// Only which lists ban this address, and why
    #[arg(long, value_name = "ADDRESS")]
    of: Option<IpAddr>,

    /// As policies of another engine, in YAML: networkpolicy, cilium or calico
    #[arg(long = "as", value_name = "ENGINE", value_enum, hide_possible_values = true, conflicts_with_all = ["of", "output"])]
    engine: Option<Engine>,

    /// Manifests instead of the API server: file, directory or - (stdin); repeatable
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    paths: Vec<PathBuf>,

    /// text, or json
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    #[arg(hide_possible_values = true)]
    output: OutputFormat,

    /// Where.
    #[command(flatten)]
    server: ServerArguments,
}

/// Runs `palisade ban`.
pub fn ban(arguments: BanArguments) -> anyhow::Result<Exit> {
    let lists = arguments.server.lists()?;
    let expires_at = arguments.time.map(|time| Timestamp::now() + time);
    let entry = Entry { cidr: arguments.cidr, expires_at, reason: arguments.reason, force: arguments.force };
    lists.ban(&arguments.list, &entry).map_err(told)?;
    let until = entry.expires_at.map(|end| format!(" until {}", seconds(end))).unwrap_or_default();
    say(&format!("{} is banned by BanList {}{until}\n", entry.cidr, arguments.list))?;
    Ok(Exit::Clean)
}

/// Runs `palisade unban`.
pub fn unban(arguments: &UnbanArguments) -> anyhow::Result<Exit> {
    let lists = arguments.server.lists()?;
    let UnbanArguments { cidr, list, .. } = arguments;
    let was_banned = lists.unban(list, *cidr).map_err(told)?;
    let mut text = if was_banned {
        format!("{cidr} is banned by BanList {list} no more\n")
    } else {
        format!("BanList {list} has no entry {cidr}\n")
    };
    // Another entry may still ban it.
    let snapshot = lists.snapshot(Some(cidr.network())).map_err(told)?;
    for standing in standings(&snapshot, cidr.network()).iter().filter(|standing| standing.bans()) {
        let _ = writeln!(text, "still banned: {standing}");
    }
    say(&text)?;
    Ok(if was_banned { Exit::Clean } else { Exit::Found })
}

/// Runs `palisade bans`.
pub fn bans(arguments: &BansArguments) -> anyhow::Result<Exit> {
    let snapshot = arguments.snapshot()?;
    if let Some(engine) = arguments.engine {
        let (text, complete) = ban_policies::write(engine, &snapshot);
        say(&text)?;
        return Ok(if complete { Exit::Clean } else { Exit::Found });
    }
    let Some(address) = arguments.of else {
        say(&match arguments.output {
            OutputFormat::Text => table(&snapshot),
            OutputFormat::Json => lines(entries(&snapshot)),
        })?;
        return Ok(Exit::Clean);
    };
    let standings = standings(&snapshot, address);
    let is_banned = standings.iter().any(|standing| standing.bans() && standing.target.is_none());
    say(&match arguments.output {
        OutputFormat::Text => standing_text(address, is_banned, &standings),
        OutputFormat::Json => lines([standing_json(address, is_banned, &standings)]),
    })?;
    Ok(if is_banned { Exit::Found } else { Exit::Clean })
}

impl BansArguments {
    fn snapshot(&self) -> anyhow::Result<Snapshot> {
        if !self.paths.is_empty() {
            return crate::input::snapshot_as_written(&self.paths);
        }
        let lists = self.server.lists()?;
        if self.engine.is_some() { lists.cluster() } else { lists.snapshot(self.of) }.map_err(told)
    }
}

fn standing_text(address: IpAddr, is_banned: bool, standings: &[Standing]) -> String {
    let mut text = format!("{address}: {}\n", if is_banned { "banned" } else { "not banned" });
    for standing in standings {
        let _ = writeln!(text, "  {standing}");
    }
    text
}

fn standing_json(address: IpAddr, is_banned: bool, standings: &[Standing]) -> Value {
    let lists: Vec<Value> = standings
        .iter()
        .map(|standing| {
            json!({
                "list": &*standing.list,
                "audit": standing.audit,
                "target": standing.target.as_ref().map(ToString::to_string),
                "entries": standing.entries.iter().map(entry_json).collect::<Vec<_>>(),
                "spared": standing.spared.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    json!({ "address": address, "banned": is_banned, "lists": lists })
}

/// Every entry, one line each.
fn table(snapshot: &Snapshot) -> String {
    let mut rows = vec![["LIST", "CIDR", "EXPIRES", "FOR", "REASON"].map(str::to_string)];
    for list in snapshot.ban_lists.values() {
        let target = list.target.as_ref().map_or("everybody".to_string(), ToString::to_string);
        let name = if list.audit { format!("{} (audit)", list.name) } else { list.name.to_string() };
        rows.extend(list.all_entries().map(|entry| {
            let reason = entry.reason.as_deref().unwrap_or("-").to_string();
            [name.clone(), entry.cidr.to_string(), expiry(entry), target.clone(), reason]
        }));
    }
    if rows.len() == 1 {
        return "nothing is banned\n".to_string();
    }
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn entries(snapshot: &Snapshot) -> Vec<Value> {
    let of_list = |list: &std::sync::Arc<palisade_core::BanList>| {
        let target = list.target.as_ref().map(ToString::to_string);
        let entry = |entry: &BanEntry| {
            let mut value = entry_json(entry);
            value["list"] = json!(&*list.name);
            value["audit"] = list.audit.into();
            value["target"] = json!(target);
            value
        };
        list.all_entries().map(entry).collect::<Vec<_>>()
    };
    snapshot.ban_lists.values().flat_map(of_list).collect()
}

fn entry_json(entry: &BanEntry) -> Value {
    let expires = entry.expires.and_then(|expires| Timestamp::from_second(expires).ok());
    json!({ "cidr": entry.cidr, "expiresAt": expires.map(|end| end.to_string()), "reason": entry.reason.as_deref() })
}

fn expiry(entry: &BanEntry) -> String {
    let expires = entry.expires.and_then(|expires| Timestamp::from_second(expires).ok());
    expires.map_or("never".to_string(), |end| end.to_string())
}

fn lines(values: impl IntoIterator<Item = Value>) -> String {
    values.into_iter().fold(String::new(), |text, value| text + &value.to_string() + "\n")
}

/// A time to the second: what an entry says.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).map_or_else(|_| time.to_string(), |time| time.to_string())
}

/// How long a ban may be, unless it is for ever: a hundred years.
const TIME_MAX: Duration = Duration::from_hours(100 * 365 * 24);

fn time(text: &str) -> Result<Duration, String> {
    match Duration::from_millis(milliseconds(text)?) {
        Duration::ZERO => Err("a ban takes some time".to_string()),
        time if time > TIME_MAX => Err("it is more than a hundred years; without --for it is for ever".to_string()),
        time => Ok(time),
    }
}

/// The name of an object, as the API server takes it.
fn list_name(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(known) && !part.starts_with('-') && !part.ends_with('-')
    };
    let is_name = text.len() <= 253 && text.split('.').all(is_part);
    if is_name {
        Ok(text.to_string())
    } else {
        Err("it is a name of lower-case letters, digits, '-' and '.'".to_string())
    }
}

/// An address is a block of one.
fn block(text: &str) -> Result<IpNet, String> {
    let block = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    block
        .map(|block| block.trunc())
        .map_err(|_| "it is an address or a block, as 203.0.113.9 or 203.0.113.0/24".to_string())
}

fn say(text: &str) -> anyhow::Result<()> {
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write the outcome")
}

fn told(error: BanError) -> anyhow::Error {
    let hint = error.hint().map(str::to_owned);
    with_hint(error, hint)
}

impl ServerArguments {
    fn lists(&self) -> anyhow::Result<BanLists> {
        BanLists::open(self.kubeconfig.as_deref(), self.context.as_deref()).map_err(told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_core::{BanList, BanTarget, Node, Selector};

    use super::*;

    fn snapshot() -> Snapshot {
        let entry = |cidr: &str, expires, reason: Option<&str>| BanEntry {
            cidr: cidr.parse().unwrap(),
            expires,
            reason: reason.map(Arc::from),
            from_source: false,
        };
        let list = |name: &str, entries| BanList { name: name.into(), entries, ..BanList::default() };
        let year = Some(1_893_456_000);
        let abuse =
            list("abuse", vec![entry("203.0.113.0/24", year, Some("scans")), entry("203.0.113.9/32", None, None)]);
        let trial = BanList {
            audit: true,
            except: vec!["203.0.113.8/29".parse().unwrap()],
            ..list("trial", vec![entry("203.0.113.0/24", None, None)])
        };
        let target = BanTarget { namespaces: Selector::everything(), pods: Selector::labels([("app", "web")]) };
        let web = BanList { target: Some(target), ..list("web", vec![entry("198.51.100.0/24", None, Some("ads"))]) };
        let wide = list("wide", vec![entry("10.0.0.0/8", None, None)]);
        let node = Node { addresses: vec!["10.99.0.1".parse().unwrap()], ..Node::default() };
        Snapshot {
            nodes: [("n1".into(), Arc::new(node))].into(),
            ban_lists: [abuse, trial, web, wide].map(|list| (list.name.clone(), Arc::new(list))).into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn entries_stand_in_columns() {
        let expected = "\
LIST            CIDR              EXPIRES                FOR                                      REASON
abuse           203.0.113.0/24    2030-01-01T00:00:00Z   everybody                                scans
abuse           203.0.113.9/32    never                  everybody                                -
trial (audit)   203.0.113.0/24    never                  everybody                                -
web             198.51.100.0/24   never                  pods app=web in namespaces everything    ads
wide            10.0.0.0/8        never                  everybody                                -
";
        let text = table(&snapshot());
        let squeezed = |text: &str| {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&text), squeezed(expected), "{text}");
        assert_eq!(table(&Snapshot::default()), "nothing is banned\n");
    }

    #[test]
    fn an_address_is_told_who_bans_it() {
        let check = |address: &str, expected: &str| {
            let address = address.parse().unwrap();
            let standings = standings(&snapshot(), address);
            let is_banned = standings.iter().any(|standing| standing.bans() && standing.target.is_none());
            assert_eq!(standing_text(address, is_banned, &standings), expected);
        };
        check("192.0.2.1", "192.0.2.1: not banned\n");
        check(
            "203.0.113.9",
            "203.0.113.9: banned\n  BanList abuse: 203.0.113.0/24 (scans), 203.0.113.9/32\n  BanList trial (audit): spared, in its \
             exceptCIDRs 203.0.113.8/29\n",
        );
        check(
            "198.51.100.1",
            "198.51.100.1: not banned\n  BanList web, for pods app=web in namespaces everything: 198.51.100.0/24 (ads)\n",
        );
        check("10.99.0.1", "10.99.0.1: not banned\n  BanList wide: spared, an address of node n1\n");
    }

    #[test]
    fn an_address_is_a_block_of_one() {
        let check = |text: &str, expected: &str| assert_eq!(block(text).unwrap().to_string(), expected);
        check("203.0.113.9", "203.0.113.9/32");
        check("2001:db8::9", "2001:db8::9/128");
        check("203.0.113.9/24", "203.0.113.0/24");
        assert!(block("here").is_err() && block("203.0.113.0/33").is_err());
    }

    #[test]
    fn times_and_names_are_what_they_say() {
        assert_eq!(time("87600h").unwrap(), Duration::from_hours(87_600));
        assert!(time("0s").is_err() && time("876001h").is_err() && time("99999999999999h").is_err());
        assert_eq!(list_name("spamhaus-drop.v4").unwrap(), "spamhaus-drop.v4");
        for name in ["", "a?b", "../x", "A", "-a", "a..b", &"a".repeat(254)] {
            assert!(list_name(name).is_err(), "{name}");
        }
    }
}
