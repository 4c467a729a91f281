//! `palisade ban`, `unban` and `bans`: single bans at the API server, or on a host without one, and who is banned by which list.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use ipnet::IpNet;
use palisade_agent::Timestamp;
use palisade_agent::bans::{BanError, BanLists, Entry, ListedEntry, LocalBanLists, MANUAL, ToldAddress};
use palisade_agent::control::{self, Answer, ControlError, Request};
use palisade_core::Snapshot;
use palisade_sources::{AGENT_NAMESPACE, shortest_prefix};
use serde::Serialize;

use crate::args::OutputFormat;
use crate::ban_policies::{self, Engine};
use crate::output::{Exit, Hinted, note, with_hint};
use crate::status::{AgentOfArguments, columns};
use crate::wait::milliseconds;

/// Where the lists are.
#[derive(Args, Debug)]
struct PlaceArguments {
    /// The API server [default: what kubectl takes]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// On this host, by what its agent knows; single bans are those of an agent without an API server
    #[arg(long, conflicts_with_all = ["kubeconfig", "context"])]
    local: bool,

    /// Which agent.
    #[command(flatten)]
    agent: AgentOfArguments,
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
    place: PlaceArguments,
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
    place: PlaceArguments,
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
    place: PlaceArguments,
}

/// Runs `palisade ban`.
pub fn ban(arguments: BanArguments) -> anyhow::Result<Exit> {
    let expires_at = arguments.time.map(|time| Timestamp::now() + time);
    let entry = Entry { cidr: arguments.cidr, expires_at, reason: arguments.reason, force: arguments.force };
    match arguments.place.local() {
        Some(directory) => {
            wide_enough(&entry)?;
            follows_files(&directory)?;
            LocalBanLists::at(&directory).ban(&arguments.list, &entry)?;
        }
        None => arguments.place.lists()?.ban(&arguments.list, &entry).map_err(told)?,
    }
    let until = entry.expires_at.map(|end| format!(" until {}", seconds(end))).unwrap_or_default();
    say(&format!("{} is banned by BanList {}{until}\n", entry.cidr, arguments.list))?;
    Ok(Exit::Clean)
}

/// Runs `palisade unban`.
pub fn unban(arguments: &UnbanArguments) -> anyhow::Result<Exit> {
    let UnbanArguments { cidr, list, place } = arguments;
    let (was_banned, others) = if let Some(directory) = place.local() {
        follows_files(&directory)?;
        let was_banned = LocalBanLists::at(&directory).unban(list, *cidr)?;
        // The agent may not have seen it yet, or not run at all: what this list says is known without it.
        let others = of_agent(&directory, cidr.network()).map(|told| told.lists).unwrap_or_default();
        (was_banned, others.into_iter().filter(|standing| standing.list != *list).collect())
    } else {
        let lists = place.lists()?;
        let was_banned = lists.unban(list, *cidr).map_err(told)?;
        let (snapshot, _) = lists.snapshot(Some(cidr.network())).map_err(told)?;
        (was_banned, ToldAddress::of(&snapshot, cidr.network()).lists)
    };
    let mut text = if was_banned {
        format!("{cidr} is banned by BanList {list} no more\n")
    } else {
        format!("BanList {list} has no entry {cidr}\n")
    };
    // Another entry may still ban it.
    for standing in others.iter().filter(|standing| standing.bans()) {
        let _ = writeln!(text, "still banned: {standing}");
    }
    say(&text)?;
    Ok(if was_banned { Exit::Clean } else { Exit::Found })
}

/// Runs `palisade bans`.
pub fn bans(arguments: &BansArguments) -> anyhow::Result<Exit> {
    if let Some(engine) = arguments.engine {
        let (text, complete) = ban_policies::write(engine, &arguments.snapshot()?);
        say(&text)?;
        return Ok(if complete { Exit::Clean } else { Exit::Found });
    }
    let Some(address) = arguments.of else {
        let entries = arguments.entries()?;
        say(&match arguments.output {
            OutputFormat::Text => table(&entries),
            OutputFormat::Json => lines(&entries)?,
        })?;
        return Ok(Exit::Clean);
    };
    let told = match arguments.place.local() {
        Some(directory) => of_agent(&directory, address)?,
        None => ToldAddress::of(&arguments.snapshot()?, address),
    };
    say(&match arguments.output {
        OutputFormat::Text => address_text(&told),
        OutputFormat::Json => lines([&told])?,
    })?;
    Ok(if told.banned { Exit::Found } else { Exit::Clean })
}

impl BansArguments {
    fn snapshot(&self) -> anyhow::Result<Snapshot> {
        if !self.paths.is_empty() {
            return crate::input::snapshot_as_written(&self.paths);
        }
        let lists = self.place.lists()?;
        let found = if self.engine.is_some() { lists.cluster() } else { lists.snapshot(self.of) };
        let (snapshot, unknown) = found.map_err(told)?;
        for unknown in &unknown {
            note(unknown);
        }
        Ok(snapshot)
    }

    fn entries(&self) -> anyhow::Result<Vec<ListedEntry>> {
        let Some(directory) = self.place.local() else {
            return Ok(self.snapshot()?.ban_lists.values().flat_map(|list| ListedEntry::all_of(list)).collect());
        };
        let mut entries = Vec::new();
        for answer in control::ask(&control::socket(&directory), Request::Bans { of: None })? {
            match answer? {
                Answer::Ban(entry) => entries.push(*entry),
                Answer::Done {} => return Ok(entries),
                _ => break,
            }
        }
        anyhow::bail!("the agent did not tell all of its ban lists")
    }
}

/// What the agent with this state directory says of an address.
fn of_agent(directory: &Path, address: IpAddr) -> anyhow::Result<ToldAddress> {
    let mut answers = control::ask(&control::socket(directory), Request::Bans { of: Some(address) })?;
    match answers.next().transpose()? {
        Some(Answer::Address(told)) => Ok(*told),
        _ => anyhow::bail!("the agent did not say whether the address is banned"),
    }
}

/// An agent that has an API server has the lists of that, and follows no files.
fn follows_files(directory: &Path) -> anyhow::Result<()> {
    let answer = match control::ask(&control::socket(directory), Request::Status {}) {
        Ok(mut answers) => answers.next().transpose()?,
        Err(ControlError::NoAgent { .. }) => {
            note("no agent runs here: this holds as soon as one does");
            None
        }
        Err(error) => return Err(error.into()),
    };
    match answer {
        Some(Answer::Status(report)) if !report.watches.is_empty() => {
            let message = "the agent of this host follows an API server, and no lists in files".to_string();
            Err(Hinted { message, hint: "leave out --local: lists are at the API server".to_string() }.into())
        }
        _ => Ok(()),
    }
}

/// The API server refuses what is more than is likely meant; without one nobody else does.
fn wide_enough(entry: &Entry) -> anyhow::Result<()> {
    let shortest = shortest_prefix(&entry.cidr);
    if entry.force || entry.cidr.prefix_len() >= shortest {
        return Ok(());
    }
    let message = format!("{} is more than /{shortest}", entry.cidr);
    Err(Hinted { message, hint: "if so much is meant, --force bans it".to_string() }.into())
}

fn address_text(told: &ToldAddress) -> String {
    let mut text = format!("{}: {}\n", told.address, if told.banned { "banned" } else { "not banned" });
    for standing in &told.lists {
        let _ = writeln!(text, "  {standing}");
    }
    text
}

/// Every entry, one line each.
fn table(entries: &[ListedEntry]) -> String {
    if entries.is_empty() {
        return "nothing is banned\n".to_string();
    }
    let mut rows = vec![["LIST", "CIDR", "EXPIRES", "FOR", "REASON"].map(str::to_string).to_vec()];
    rows.extend(entries.iter().map(|ListedEntry { entry, list, audit, target }| {
        let list = if *audit { format!("{list} (audit)") } else { list.clone() };
        let target = target.clone().unwrap_or_else(|| "everybody".to_string());
        let expires = entry.expires_at.map_or("never".to_string(), |end| end.to_string());
        vec![list, entry.cidr.to_string(), expires, target, entry.reason.clone().unwrap_or_else(|| "-".to_string())]
    }));
    columns(&rows)
}

fn lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> anyhow::Result<String> {
    let mut text = String::new();
    for value in values {
        text += &serde_json::to_string(&value)?;
        text.push('\n');
    }
    Ok(text)
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

impl PlaceArguments {
    /// The state directory of the agent, where its lists are on this host.
    fn local(&self) -> Option<PathBuf> {
        self.local.then(|| self.agent.state_directory())
    }

    fn lists(&self) -> anyhow::Result<BanLists> {
        BanLists::open(self.kubeconfig.as_deref(), self.context.as_deref(), AGENT_NAMESPACE).map_err(told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_core::{BanEntry, BanList, BanTarget, Node, Selector};

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
        let entries = |snapshot: &Snapshot| -> Vec<ListedEntry> {
            snapshot.ban_lists.values().flat_map(|list| ListedEntry::all_of(list)).collect()
        };
        let text = table(&entries(&snapshot()));
        let squeezed = |text: &str| {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&text), squeezed(expected), "{text}");
        assert_eq!(table(&[]), "nothing is banned\n");
    }

    #[test]
    fn an_address_is_told_who_bans_it() {
        let check = |address: &str, expected: &str| {
            let address = address.parse().unwrap();
            assert_eq!(address_text(&ToldAddress::of(&snapshot(), address)), expected);
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
