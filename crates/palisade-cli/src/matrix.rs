//! `palisade matrix`: who reaches whom, and with what.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use anyhow::Context as _;
use palisade_core::Family;
use palisade_reach::{Edge, Families, Reach, TrafficSet, united};
use palisade_report::json;

use crate::args::{MatrixArguments, MatrixFormat};
use crate::dialects::{refuse_undefined, tell_what_is_not_judged};
use crate::output::Exit;
use crate::wanted::{Wanted, tell_what_is_left_out};

/// Runs the command.
pub fn run(arguments: &MatrixArguments) -> anyhow::Result<Exit> {
    arguments.input.refuse_sharing_stdin(None)?;
    refuse_undefined(&[arguments.dialect])?;
    let snapshot = arguments.input.snapshot()?;
    tell_what_is_left_out(&[&snapshot]);
    tell_what_is_not_judged(arguments.dialect);
    let wanted = Wanted::new(&arguments.wanted, &[&snapshot])?;
    let reach = Reach::new(&snapshot, arguments.dialect);
    let edges = reach.edges().filter(|edge| wanted.is_between(edge.from, edge.to)).filter_map(|edge| {
        let traffic = edge.traffic.map(|traffic| traffic.map(|traffic| wanted.of(&traffic)));
        let is_edge = traffic.iter().flatten().any(|traffic| !traffic.is_empty());
        is_edge.then_some(Edge { traffic, ..edge })
    });
    write(edges, arguments.output).context("cannot write the matrix")?;
    Ok(Exit::Clean)
}

fn write<'r>(edges: impl Iterator<Item = Edge<'r>>, format: MatrixFormat) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match format {
        MatrixFormat::Csv => writeln!(out, "from,to,family,traffic")?,
        MatrixFormat::Dot => writeln!(out, "digraph reach {{\n  rankdir=LR;\n  node [shape=box];")?,
        MatrixFormat::Text | MatrixFormat::Json => {}
    }
    for edge in edges {
        match format {
            MatrixFormat::Text => text(&mut out, &edge)?,
            MatrixFormat::Json => writeln!(out, "{}", json::edge(&edge))?,
            MatrixFormat::Csv => csv(&mut out, &edge)?,
            MatrixFormat::Dot => dot(&mut out, &edge)?,
        }
    }
    if format == MatrixFormat::Dot {
        writeln!(out, "}}")?;
    }
    out.flush()
}

fn text(out: &mut impl Write, edge: &Edge<'_>) -> io::Result<()> {
    for (family, traffic) in shown(&edge.traffic) {
        writeln!(out, "{} -> {} {traffic}{}", edge.from, edge.to, marked(family))?;
    }
    Ok(())
}

fn dot(out: &mut impl Write, edge: &Edge<'_>) -> io::Result<()> {
    // Names and addresses hold nothing that is to be escaped.
    for (family, traffic) in shown(&edge.traffic) {
        writeln!(out, "  \"{}\" -> \"{}\" [label=\"{traffic}{}\"];", edge.from, edge.to, marked(family))?;
    }
    Ok(())
}

/// A line for each family; only traffic, and names of several pods, hold commas.
fn csv(out: &mut impl Write, edge: &Edge<'_>) -> io::Result<()> {
    for (family, traffic) in Family::ALL.into_iter().zip(&edge.traffic) {
        if let Some(traffic) = traffic.as_ref().filter(|traffic| !traffic.is_empty()) {
            writeln!(out, "\"{}\",\"{}\",{},\"{traffic}\"", edge.from, edge.to, family.digit())?;
        }
    }
    Ok(())
}

fn shown(traffic: &Families<Arc<TrafficSet>>) -> impl Iterator<Item = (Option<Family>, &Arc<TrafficSet>)> {
    united(traffic).into_iter().filter(|(_, traffic)| !traffic.is_empty())
}

/// ` (IPv4)` where the families differ.
pub fn marked(family: Option<Family>) -> String {
    family.map(|family| format!(" ({family})")).unwrap_or_default()
}
