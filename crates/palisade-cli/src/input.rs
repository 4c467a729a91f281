//! From arguments to a snapshot and to flows.
#![expect(clippy::disallowed_methods, reason = "lists of bans are read as of now")]

use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use palisade_core::{Diagnostic, Flow, Snapshot};
use palisade_sim::ResolveError;
use palisade_sources::{Options, Parsed, SourceText, Written, restrict_ip};

use crate::args::{InputArguments, LeftOutArguments};
use crate::diagnostics;
use crate::output::{Hinted, Several};

impl InputArguments {
    /// Manifests alone.
    pub fn of(paths: Vec<PathBuf>, left_out: LeftOutArguments) -> InputArguments {
        InputArguments {
            paths,
            configs: Vec::new(),
            #[cfg(target_os = "linux")]
            live: crate::live::ClusterArguments::default(),
            left_out,
        }
    }

    /// The paths as the user named them, in one line.
    pub fn path_names(&self) -> String {
        #[cfg(target_os = "linux")]
        if self.live.cluster {
            return "the cluster".to_string();
        }
        self.files().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Everything that is read, in the order of the kinds.
    #[cfg(target_os = "linux")]
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.iter().chain(&self.configs)
    }

    /// What stands in for what the input leaves out.
    pub fn options(&self) -> Options {
        let left_out = &self.left_out;
        Options {
            nodes: usize::from(left_out.nodes),
            pod_cidrs: vec![left_out.pod_cidr.into(), left_out.pod_cidr6.into()],
            node_cidrs: vec![left_out.node_cidr.into(), left_out.node_cidr6.into()],
            now: now(),
            ..Options::default()
        }
    }

    /// An error if two things are both to come from standard input: it can be read only once.
    pub fn refuse_sharing_stdin(&self, flows: Option<&Path>) -> Result<(), Hinted> {
        let objects = self.paths.iter().map(|path| (path.as_path(), "objects"));
        let configs = self.configs.iter().map(|path| (path.as_path(), "a config file"));
        refuse_sharing_stdin(objects.chain(configs).chain(flows.map(|path| (path, "flows"))))
    }

    /// Reads the input and prints its diagnostics; an error if it gives no answer at all.
    pub fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let (snapshot, diagnostics) = self.parse()?;
        diagnostics::print(&diagnostics);
        Ok(snapshot)
    }

    /// Reads the input; its diagnostics are printed here only if there is no answer.
    pub fn parse(&self) -> anyhow::Result<(Snapshot, Vec<Diagnostic>)> {
        let mut parsed = palisade_sources::parse(&self.texts()?, &self.options());
        self.add_configs(&mut parsed)?;
        answer(parsed)
    }

    /// What texts and the config files say, for checks, with whatever is wrong with them.
    pub fn parse_written<'t>(&self, texts: &'t [SourceText]) -> anyhow::Result<(Parsed, Written<'t>)> {
        let (mut parsed, written) = palisade_sources::parse_written(texts, &self.options());
        self.add_configs(&mut parsed)?;
        Ok((parsed, written))
    }

    fn add_configs(&self, parsed: &mut Parsed) -> anyhow::Result<()> {
        restrict_ip::add(parsed, &palisade_sources::read_files(&self.configs)?);
        Ok(())
    }

    fn texts(&self) -> anyhow::Result<Vec<SourceText>> {
        #[cfg(target_os = "linux")]
        if self.live.cluster {
            return crate::live::read(&self.live);
        }
        Ok(palisade_sources::read(&self.paths)?)
    }

    /// The texts of the input, with all that checks ask of a cluster.
    pub fn texts_for_checks(&self) -> anyhow::Result<Vec<SourceText>> {
        #[cfg(target_os = "linux")]
        if self.live.cluster {
            return crate::live::read_for_checks(&self.live);
        }
        Ok(palisade_sources::read(&self.paths)?)
    }
}

/// An error if more than one of these paths, each with what is read there, is standard input: it can be read only once.
pub fn refuse_sharing_stdin<'p>(read: impl Iterator<Item = (&'p Path, &'static str)>) -> Result<(), Hinted> {
    let from_stdin: Vec<&str> = read.filter(|(path, _)| *path == Path::new("-")).map(|(_, what)| what).collect();
    match from_stdin[..] {
        [first, second, ..] if first != second => Err(Hinted {
            message: format!("{first} and {second} cannot both come from standard input"),
            hint: "write one of them to a file, and name that".to_string(),
        }),
        [_, _, ..] => Err(Hinted {
            message: "standard input can be read only once".to_string(),
            hint: "name '-' once".to_string(),
        }),
        _ => Ok(()),
    }
}

/// The texts of manifests.
pub fn manifests(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceText>> {
    refuse_sharing_stdin(paths.iter().map(|path| (path.as_path(), "objects")))?;
    Ok(palisade_sources::read(paths)?)
}

/// What stands in by default for what manifests leave out.
pub fn defaults() -> Options {
    Options { now: now(), ..Options::default() }
}

/// What manifests say, without what stands in elsewhere for addresses that they leave out; its diagnostics are printed.
#[cfg(target_os = "linux")]
pub fn snapshot_as_written(paths: &[PathBuf]) -> anyhow::Result<Snapshot> {
    let texts = manifests(paths)?;
    let (mut snapshot, diagnostics) = answer(palisade_sources::parse(&texts, &defaults()))?;
    diagnostics::print(&diagnostics);
    for node in snapshot.nodes.values_mut().filter(|node| node.assumed) {
        Arc::make_mut(node).addresses.clear();
    }
    for pod in snapshot.pods.values_mut().filter(|pod| pod.assumed.addresses) {
        Arc::make_mut(pod).addresses.clear();
    }
    Ok(snapshot)
}

/// What it says, unless it gives no answer; then its diagnostics are printed.
pub fn answer(parsed: Parsed) -> anyhow::Result<(Snapshot, Vec<Diagnostic>)> {
    let Parsed { snapshot, diagnostics, no_answer } = parsed;
    if no_answer {
        diagnostics::print(&diagnostics);
        return Err(unanswerable());
    }
    Ok((snapshot, diagnostics))
}

/// The error of input that gives no answer; its diagnostics say why.
pub fn unanswerable() -> anyhow::Error {
    anyhow!("the input cannot be read well enough to give an answer")
}

/// A flow with the line that the user wrote.
pub struct GivenFlow {
    /// The line, trimmed.
    pub text: String,
    /// The flow.
    pub flow: Flow,
    /// Where it stands in a file: `flows.txt:3`.
    place: Option<String>,
}

impl From<Flow> for GivenFlow {
    fn from(flow: Flow) -> GivenFlow {
        GivenFlow { text: flow.to_string(), flow, place: None }
    }
}

/// The flows of a file (`-` is standard input): one a line, empty lines and `#` comments passed over; at least one.
pub fn read_flows(path: &Path) -> anyhow::Result<Vec<GivenFlow>> {
    let file = if path == Path::new("-") { "standard input".to_string() } else { path.display().to_string() };
    let text = palisade_sources::read_text(path).with_context(|| format!("cannot read flows from {file}"))?;
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let flows = all(lines.map(|(number, line)| parse_flow(line, Some(format!("{file}:{number}")))))?;
    if flows.is_empty() {
        let message = format!("there is no flow in {file}");
        return Err(Hinted { message, hint: "write one a line: web/front -> db/pg tcp 5432".to_string() }.into());
    }
    Ok(flows)
}

/// The flows of the command line.
pub fn parse_flows(texts: &[String]) -> anyhow::Result<Vec<GivenFlow>> {
    let unquoted = texts.len() > 1 && texts.iter().all(|text| !text.contains("->"));
    if unquoted {
        let message = format!("'{}' is no flow", texts[0]);
        let hint = "quote each flow, 'web/front -> db/pg tcp 5432': the shell takes a bare > for itself".to_string();
        return Err(Hinted { message, hint }.into());
    }
    Ok(all(texts.iter().map(|text| parse_flow(text.trim(), None)))?)
}

fn parse_flow(text: &str, place: Option<String>) -> Result<GivenFlow, Hinted> {
    match text.parse::<Flow>() {
        Ok(flow) => Ok(GivenFlow { text: text.to_string(), flow, place }),
        Err(error) => Err(about(text, place.as_deref(), &error.message, error.hint.to_string())),
    }
}

/// What each flow comes to; or everything that is wrong with their ends.
pub fn all_resolved<T>(
    flows: &[GivenFlow],
    resolve: impl Fn(&GivenFlow) -> Result<T, ResolveError>,
) -> anyhow::Result<Vec<T>> {
    let resolved = flows.iter().map(|given| {
        resolve(given).map_err(|error| about(&given.text, given.place.as_deref(), &error.message, error.hint))
    });
    Ok(all(resolved)?)
}

/// An error about a flow. It shows the flow, unless the message does.
fn about(text: &str, place: Option<&str>, message: &str, hint: String) -> Hinted {
    let place = place.map_or(String::new(), |place| format!("{place}: "));
    let flow = if message.contains(text) { String::new() } else { format!("'{text}': ") };
    Hinted { message: format!("{place}{flow}{message}"), hint }
}

/// All values, or all errors.
fn all<T>(results: impl Iterator<Item = Result<T, Hinted>>) -> Result<Vec<T>, Several> {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(Several(errors)) }
}

/// What time it is, in seconds since 1970; `None` if the clock is set to before that.
fn now() -> Option<i64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}
