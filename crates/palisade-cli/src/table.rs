//! Who reaches whom, as a table that fits a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use palisade_core::{End, Port, Traffic};
use palisade_lab::{Reach, Report};

/// Renders the reachability that a report found, at most `width` columns wide.
pub fn render(report: &Report, width: usize) -> String {
    let reach = report.reach();
    let ends = merged_ends(&reach);
    let mut text =
        String::from("who reaches whom (rows ask, columns answer): # all that was tried, + some, . nothing\n");
    let label_width = ends.iter().map(|end| end.label.chars().count()).max().unwrap_or(0).min(width / 2);
    let index_width = ends.len().to_string().len();
    let cell_width = index_width + 1;
    let columns = ((width.saturating_sub(index_width + 1 + label_width)) / cell_width).max(1);
    let numbered: Vec<(usize, &MergedEnd<'_>)> = (1..).zip(&ends).collect();
    for block in numbered.chunks(columns) {
        let indent = index_width + 1 + label_width;
        let _ = write!(text, "\n{:indent$}", "");
        for (number, _) in block {
            let _ = write!(text, "{number:>cell_width$}");
        }
        text.push('\n');
        for (number, row) in &numbered {
            let _ = write!(text, "{number:>index_width$} {:<label_width$}", shortened(&row.label, label_width));
            for (_, column) in block {
                let _ = write!(text, "{:>cell_width$}", symbol(reach.get(&(row.ends[0], column.ends[0]))));
            }
            trim_end(&mut text);
            text.push('\n');
        }
    }
    text.push_str(&partial(&reach, &ends, width));
    text
}

/// Ends that nothing tells apart.
struct MergedEnd<'a> {
    label: String,
    ends: Vec<&'a End>,
}

/// Addresses with the same row and the same column become one; pods stay apart.
fn merged_ends<'a>(reach: &BTreeMap<(&'a End, &'a End), Reach>) -> Vec<MergedEnd<'a>> {
    let mut all: Vec<&End> = reach.keys().flat_map(|(source, destination)| [*source, *destination]).collect();
    all.sort_by_key(|end| (matches!(end, End::Address(_)), *end));
    all.dedup();
    let others: Vec<&End> = all.iter().copied().filter(|end| !matches!(end, End::Address(_))).collect();
    let mut merged: Vec<MergedEnd<'a>> = Vec::new();
    for end in all {
        let same = |other: &&mut MergedEnd<'_>| {
            let first = other.ends[0];
            matches!((first, end), (End::Address(one), End::Address(other)) if one.is_ipv4() == other.is_ipv4())
                && others.iter().all(|pod| {
                    reach.get(&(first, *pod)) == reach.get(&(end, *pod))
                        && reach.get(&(*pod, first)) == reach.get(&(*pod, end))
                })
        };
        match merged.iter_mut().find(same) {
            Some(group) => group.ends.push(end),
            None => merged.push(MergedEnd { label: String::new(), ends: vec![end] }),
        }
    }
    for group in &mut merged {
        group.label = match group.ends.len() {
            1 => group.ends[0].to_string(),
            count => format!("{} +{}", group.ends[0], count - 1),
        };
    }
    merged
}

fn symbol(reach: Option<&Reach>) -> &'static str {
    match reach {
        None => " ",
        Some(reach) if reach.denied.is_empty() => "#",
        Some(reach) if reach.allowed.is_empty() => ".",
        Some(_) => "+",
    }
}

/// What "some" is, one line for each pair.
fn partial(reach: &BTreeMap<(&End, &End), Reach>, ends: &[MergedEnd<'_>], width: usize) -> String {
    let mut text = String::new();
    for row in ends {
        for column in ends {
            let Some(cell) = reach.get(&(row.ends[0], column.ends[0])) else { continue };
            if cell.allowed.is_empty() || cell.denied.is_empty() {
                continue;
            }
            let heading = format!("  {} -> {}: ", row.label, column.label);
            if text.is_empty() {
                text.push_str("\nsome:\n");
            }
            let allowed = summary(&cell.allowed);
            let line = if cell.denied.len() < cell.allowed.len() {
                format!("{heading}all but {}", summary(&cell.denied))
            } else {
                format!("{heading}{allowed}")
            };
            let _ = writeln!(text, "{}", shortened(&line, width));
        }
    }
    text
}

/// `tcp 80, 443; udp 53; icmp`.
fn summary(traffic: &[Traffic]) -> String {
    let mut ports: BTreeMap<&str, Vec<Port>> = BTreeMap::new();
    let mut parts = Vec::new();
    for traffic in traffic {
        match traffic {
            Traffic::Port(transport, port) => ports.entry(transport.name()).or_default().push(*port),
            Traffic::Icmp => parts.push("icmp".to_string()),
        }
    }
    for (transport, mut ports) in ports.into_iter().rev() {
        ports.sort_unstable();
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        parts.insert(0, format!("{transport} {}", ports.join(", ")));
    }
    parts.join("; ")
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn trim_end(text: &mut String) {
    text.truncate(text.trim_end_matches(' ').len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_summed_up_by_protocol() {
        let port = |transport, port| Traffic::Port(transport, Port::new(port).unwrap());
        use palisade_core::Transport::{Tcp, Udp};
        let traffic = [port(Tcp, 443), Traffic::Icmp, port(Udp, 53), port(Tcp, 80)];
        assert_eq!(summary(&traffic), "tcp 80, 443; udp 53; icmp");
    }

    #[test]
    fn long_text_is_shortened() {
        assert_eq!(shortened("web/front", 9), "web/front");
        assert_eq!(shortened("web/front", 5), "web/…");
    }
}
