//! The log of commands that run on.

use std::io::IsTerminal as _;

use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::args::OutputFormat;

/// What is logged unless something else is asked for. The client of the API server says of each failed request what we say in
/// words of our own.
const LOG_LEVEL: &str = "info,kube_client=off";

/// What is logged, and how.
#[derive(Args, Debug)]
pub struct LogArguments {
    /// text, or json: one object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text, hide_possible_values = true)]
    log_format: OutputFormat,

    /// error, warn, info, debug, trace, or by part as in 'warn,kube=debug'
    #[arg(long, value_name = "LEVEL", default_value = LOG_LEVEL, value_parser = filter)]
    log_level: String,
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_string()).map_err(|error| error.to_string())
}

impl LogArguments {
    /// Standard error takes the log; a terminal gets colours.
    pub fn start(&self) {
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(&self.log_level))
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            OutputFormat::Text => log.init(),
            OutputFormat::Json => log.json().flatten_event(true).init(),
        }
    }
}
