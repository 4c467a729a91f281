//! `palisade denied`: packets that this node denied, live.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Args;
use palisade_agent::control::{self, Answer, Request};

use crate::args::OutputFormat;
use crate::output::{Exit, note};
use crate::status::AgentOfArguments;

/// Arguments of `denied`.
#[derive(Args, Debug)]
pub struct DeniedArguments {
    /// Which agent.
    #[command(flatten)]
    agent: AgentOfArguments,

    /// Go on with the packets to come
    #[arg(long)]
    follow: bool,

    /// text, or json: one object a packet
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    #[arg(hide_possible_values = true)]
    output: OutputFormat,
}

/// Runs the command.
pub fn run(arguments: &DeniedArguments) -> anyhow::Result<Exit> {
    let socket = control::socket(&arguments.agent.state_directory());
    let mut out = io::stdout();
    for answer in control::ask(&socket, Request::Denied { follow: arguments.follow })? {
        match answer? {
            Answer::Denied(packet) => {
                let line = match arguments.output {
                    OutputFormat::Text => format!("{:.0} {packet}", packet.time),
                    OutputFormat::Json => serde_json::to_string(&packet).context("cannot print a packet")?,
                };
                writeln!(out, "{line}").context("cannot print a packet")?;
            }
            Answer::Lost(count) => {
                note(&format!("{count} or more packets are missing here: they came too fast, or cannot be read"));
            }
            Answer::Done {} => return Ok(Exit::Clean),
            Answer::Status(_) | Answer::Ban(_) | Answer::Address(_) | Answer::Error(_) => {}
        }
    }
    anyhow::bail!("the agent ended")
}
