//! Who reaches whom, for people: what is open to whom, and a matrix that shows it at a glance.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use palisade_core::{Port, Snapshot, Traffic};
use palisade_lab::{Reach, Report};

use crate::classes::{Class, Reaches, classes, reach_between};

/// More ends than this make a matrix that nobody reads.
const MATRIX_ENDS_MAX: usize = 60;
/// Traffic that takes more columns than this pushes its own sources to the right, not all.
const TRAFFIC_WIDTH_MAX: usize = 26;
/// How several pods of one class are named as sources of themselves.
const EACH_OTHER: &str = "each other";

/// Renders the reachability that a report found, at most `width` columns wide. The matrix comes last, where a
/// terminal still shows it.
pub fn render(snapshot: &Snapshot, report: &Report, width: usize) -> String {
    let reaches = report.reach();
    let classes = classes(snapshot, &reaches);
    let mut text = openings(&reaches, &classes, width);
    text.push('\n');
    if classes.len() > MATRIX_ENDS_MAX {
        let _ = writeln!(text, "(no matrix: {} ends are too many to read)", classes.len());
    } else {
        text.push_str(&matrix(&reaches, &classes, width));
    }
    text
}

/// For each end that somebody reaches: what is open, and to whom. Ends with the same openings share them.
fn openings<'a>(reaches: &Reaches<'a>, classes: &[Class<'a>], width: usize) -> String {
    // Whoever may send everything to all outside would be repeated for each block there.
    let roamers = roamers(reaches, classes);
    let nobody = BTreeSet::new();
    let mut entries: Vec<(Vec<String>, String)> = Vec::new();
    let mut outside_begins = None;
    let is_tried = |class: &&Class<'a>| classes.iter().any(|from| reach_between(reaches, from, class).is_some());
    for destination in classes.iter().filter(is_tried) {
        let without = if destination.is_outside() { &roamers } else { &nobody };
        if destination.is_outside() && outside_begins.is_none() {
            outside_begins = Some(entries.len());
            if !roamers.is_empty() {
                let everything = Opening { traffic: "everything".to_string(), sources: roamers.clone() };
                entries.push((vec!["all outside".to_string()], body(&[everything], classes, destination, width)));
            }
        }
        let openings = openings_of(reaches, classes, destination, without);
        if openings.is_empty() && !without.is_empty() {
            continue;
        }
        let body = body(&openings, classes, destination, width);
        let shared = entries.iter_mut().skip(outside_begins.unwrap_or(0)).find(|(_, known)| *known == body);
        match shared {
            Some((labels, _)) if !body.contains(EACH_OTHER) => labels.push(destination.label()),
            _ => entries.push((vec![destination.label()], body)),
        }
    }
    let (closed, open): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, body)| body.is_empty());
    let mut text = String::from("what is open, to whom:\n");
    for (labels, body) in open {
        wrapped(&mut text, "  ", &labels.join(", "), width);
        text.push_str(&body);
    }
    let closed: Vec<String> = closed.into_iter().flat_map(|(labels, _)| labels).collect();
    if !closed.is_empty() {
        wrapped(&mut text, "  nothing is open on ", &closed.join(", "), width);
    }
    text
}

/// The lines below the name of an end; none if nothing is open there.
fn body(openings: &[Opening], classes: &[Class<'_>], destination: &Class<'_>, width: usize) -> String {
    let longest = openings.iter().map(|opening| opening.traffic.len()).max().unwrap_or(0).min(TRAFFIC_WIDTH_MAX);
    let mut text = String::new();
    for Opening { traffic, sources } in openings {
        let head = format!("    {traffic:<longest$}  ");
        wrapped(&mut text, &head, &named_sources(sources, classes, destination), width);
    }
    text
}

/// The classes that may send everything to everybody outside, if there are several to send to.
fn roamers<'a>(reaches: &Reaches<'a>, classes: &[Class<'a>]) -> BTreeSet<usize> {
    let outside: Vec<&Class<'a>> = classes.iter().filter(|class| class.is_outside()).collect();
    let everything = |source: &Class<'a>| {
        let may = |destination: &&Class<'a>| {
            reach_between(reaches, source, destination).is_some_and(|reach| reach.denied.is_empty())
        };
        outside.len() > 1 && outside.iter().all(may)
    };
    (0..classes.len()).filter(|index| everything(&classes[*index])).collect()
}

/// What some sources may send.
struct Opening {
    traffic: String,
    /// Indices of classes.
    sources: BTreeSet<usize>,
}

fn openings_of<'a>(
    reaches: &Reaches<'a>,
    classes: &[Class<'a>],
    destination: &Class<'a>,
    without: &BTreeSet<usize>,
) -> Vec<Opening> {
    let mut everything = BTreeSet::new();
    let mut by_traffic: BTreeMap<Traffic, BTreeSet<usize>> = BTreeMap::new();
    let mut tried: BTreeSet<Traffic> = BTreeSet::new();
    for (index, source) in classes.iter().enumerate() {
        let Some(reach) = reach_between(reaches, source, destination) else { continue };
        if without.contains(&index) {
            continue;
        }
        tried.extend(reach.allowed.iter().chain(&reach.denied));
        if reach.denied.is_empty() {
            everything.insert(index);
        } else {
            for traffic in &reach.allowed {
                by_traffic.entry(*traffic).or_default().insert(index);
            }
        }
    }
    let mut by_sources: Vec<(BTreeSet<usize>, Vec<Traffic>)> = Vec::new();
    for (traffic, sources) in by_traffic {
        match by_sources.iter_mut().find(|(known, _)| *known == sources) {
            Some((_, list)) => list.push(traffic),
            None => by_sources.push((sources, vec![traffic])),
        }
    }
    let mut openings = Vec::new();
    if !everything.is_empty() {
        openings.push(Opening { traffic: "everything".to_string(), sources: everything });
    }
    let partial = by_sources.into_iter();
    openings.extend(partial.map(|(sources, traffic)| Opening { traffic: summary(&traffic, &tried), sources }));
    openings
}

/// `everyone`, `every pod`, `data/*`, `shop/front`: as few words as say it.
fn named_sources(sources: &BTreeSet<usize>, classes: &[Class<'_>], destination: &Class<'_>) -> String {
    let is_destination = |class: &Class<'_>| class.ends[0] == destination.ends[0];
    // A single end reaches itself whatever the policies say, so that it counts with any others.
    let held = |index: usize| {
        let class = &classes[index];
        sources.contains(&index) || (is_destination(class) && class.ends.len() == 1)
    };
    let all_where = |test: &dyn Fn(&Class<'_>) -> bool| {
        let mut matching = (0..classes.len()).filter(|index| test(&classes[*index])).peekable();
        matching.peek().is_some() && matching.all(held)
    };
    let every_pod = all_where(&|class| class.is_pod());
    let every_address = !destination.is_outside() && all_where(&|class| class.is_outside());
    let every_node = all_where(&|class| class.is_node());
    // Nodes are tried with servers alone.
    let are_nodes_tried = destination.is_server();
    if every_pod && every_address && (every_node || !are_nodes_tried) {
        return "everyone".to_string();
    }
    let mut names: Vec<String> = Vec::new();
    if every_pod {
        names.push("every pod".to_string());
    }
    for (index, class) in sources.iter().map(|index| (*index, &classes[*index])) {
        let name = if class.is_outside() && every_address {
            "everybody outside".to_string()
        } else if class.is_pod() && every_pod {
            continue;
        } else if class.is_node() && every_node {
            "every node".to_string()
        } else if is_destination(class) {
            EACH_OTHER.to_string()
        } else if class.is_pod()
            && classes.iter().filter(|other| other.group == class.group && !is_destination(other)).count() > 1
            && all_where(&|other| other.group == class.group)
        {
            format!("{}/*", class.group)
        } else {
            classes[index].label()
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// `tcp 80, 443; udp 53; icmp`, and `all tcp` where that is every port that was tried.
fn summary(traffic: &[Traffic], tried: &BTreeSet<Traffic>) -> String {
    let mut parts = Vec::new();
    for (transport, ports) in by_transport(traffic) {
        let all = by_transport(tried).get(transport).is_some_and(|tried| tried.len() == ports.len() && ports.len() > 1);
        let list = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        parts.push(if all { format!("all {transport}") } else { format!("{transport} {list}") });
    }
    if traffic.contains(&Traffic::Icmp) {
        parts.push("icmp".to_string());
    }
    parts.join("; ")
}

/// `tcp 80, 443; udp 53; icmp`.
pub fn listed(traffic: &[Traffic]) -> String {
    summary(traffic, &BTreeSet::new())
}

fn by_transport<'t>(traffic: impl IntoIterator<Item = &'t Traffic>) -> BTreeMap<&'static str, BTreeSet<Port>> {
    let mut ports: BTreeMap<&'static str, BTreeSet<Port>> = BTreeMap::new();
    for traffic in traffic {
        if let Traffic::Port(transport, port) = traffic {
            ports.entry(transport.name()).or_default().insert(*port);
        }
    }
    ports
}

/// One symbol for each pair, grouped by namespace; as many blocks of columns as the width needs.
fn matrix<'a>(reaches: &Reaches<'a>, classes: &[Class<'a>], width: usize) -> String {
    let mut text = String::new();
    wrapped(&mut text, "who reaches whom (row to column): ", "# everything, + part of it, . nothing", width);
    let index_width = classes.len().to_string().len();
    let longest = classes.iter().map(|class| class.name.chars().count()).max().unwrap_or(0);
    let label_width = longest.min((width / 3).max(10));
    let indent = 2 + index_width + 1 + label_width;
    let numbered: Vec<(usize, &Class<'a>)> = (1..).zip(classes).collect();
    for columns in blocks_of_columns(&numbered, index_width + 1, width.saturating_sub(indent)) {
        let mut line = " ".repeat(indent);
        cells(&mut line, columns, index_width, |number, _| number.to_string());
        let _ = writeln!(text, "\n{line}");
        let mut group = "";
        for (number, row) in &numbered {
            if row.group != group {
                group = &row.group;
                let _ = writeln!(text, "{}", shortened(group, width));
            }
            let mut line = format!("  {number:>index_width$} {:<label_width$}", shortened(&row.name, label_width));
            cells(&mut line, columns, index_width, |_, column| {
                symbol(reach_between(reaches, row, column), row, column)
            });
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// The columns in parts that fit, with a gap before each namespace.
fn blocks_of_columns<'c, 'a>(
    mut columns: &'c [(usize, &'c Class<'a>)],
    cell_width: usize,
    width: usize,
) -> Vec<&'c [(usize, &'c Class<'a>)]> {
    let mut blocks = Vec::new();
    while !columns.is_empty() {
        let mut used = cell_width;
        let mut count = 1;
        for pair in columns.windows(2) {
            used += cell_width + usize::from(pair[0].1.group != pair[1].1.group);
            if used > width {
                break;
            }
            count += 1;
        }
        let (block, rest) = columns.split_at(count);
        blocks.push(block);
        columns = rest;
    }
    blocks
}

fn cells<'a>(
    line: &mut String,
    columns: &[(usize, &Class<'a>)],
    index_width: usize,
    content: impl Fn(usize, &Class<'a>) -> String,
) {
    let mut group = columns.first().map(|(_, class)| class.group.as_str());
    for (number, column) in columns {
        if group != Some(&column.group) {
            line.push(' ');
            group = Some(&column.group);
        }
        let _ = write!(line, " {:>index_width$}", content(*number, column));
    }
}

fn symbol(reach: Option<&Reach>, row: &Class<'_>, column: &Class<'_>) -> String {
    let symbol = match reach {
        None if row.ends == column.ends && !row.is_outside() => "-",
        None => "",
        Some(reach) if reach.denied.is_empty() => "#",
        Some(reach) if reach.allowed.is_empty() => ".",
        Some(_) => "+",
    };
    symbol.to_string()
}

/// Appends `head` and a text that is broken after commas; further lines begin below the first.
fn wrapped(text: &mut String, head: &str, body: &str, width: usize) {
    // Where the head leaves no room, the body begins on a line of its own.
    let indent = if head.chars().count() > width / 2 { 8 } else { head.chars().count() };
    let mut line = head.to_string();
    if indent != head.chars().count() {
        let _ = writeln!(text, "{}", line.trim_end());
        line = " ".repeat(indent);
    }
    let mut begun = false;
    for part in body.split_inclusive(", ") {
        if begun && line.chars().count() + part.trim_end().chars().count() > width {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(indent);
        }
        line.push_str(part);
        begun = true;
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests;
