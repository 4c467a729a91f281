//! What the engine is told: everything that happens around it comes through one channel.

use std::time::Instant;

use palisade_sources::live::{Kind, Object};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::report::Report;

/// One piece of news.
#[derive(Debug)]
pub enum Message {
    /// The API server said something about objects.
    Watch {
        /// Of which kind.
        kind: Kind,
        /// What it said.
        news: WatchNews,
        /// When it arrived: programming latency is measured from here.
        at: Instant,
        /// The room that the object takes as long as the message waits.
        room: Option<OwnedSemaphorePermit>,
    },
    /// The config files of kube-restrict-ip are like this now.
    Configs(Vec<crate::config::ConfigFile>),
    /// The sources of these ban lists are like this now.
    BanSources(Vec<crate::feeds::SourceNews>),
    /// The files with ban lists of an agent without an API server are like this now.
    BanFiles(crate::ban_files::BanFiles),
    /// Something happened to the ruleset of the kernel.
    Table(palisade_nft::Event),
    /// Interfaces came, went or changed.
    Interfaces,
    /// A question about what is in force.
    Report(oneshot::Sender<Report>),
    /// The same in short, for the cluster.
    NodeState(oneshot::Sender<crate::node_state::Told>),
    /// What stands in the way of enforcement now, as far as one who looks for it can tell.
    Obstacles {
        /// Who looked; what it said before is forgotten.
        of: &'static str,
        /// What it found.
        obstacles: Vec<crate::report::Obstacle>,
    },
    /// What is known that limits enforcement.
    Surroundings(oneshot::Sender<crate::preflight::Surroundings>),
    /// Whether pods are open between a reboot and the start of the agent.
    BootGap(crate::node_state::BootGap),
    /// The ban lists as they are in force.
    BanLists(oneshot::Sender<Vec<std::sync::Arc<palisade_core::BanList>>>),
    /// What they say of an address.
    BansOf(std::net::IpAddr, oneshot::Sender<crate::bans::ToldAddress>),
    /// `--cleanup` or `--emergency-stop`: take everything out of the kernel and keep it out.
    Pause(crate::state::Pause, oneshot::Sender<Result<(), String>>),
    /// `--resume`: enforce again.
    Resume(oneshot::Sender<Result<(), String>>),
    /// Connection marks of former generations were cleared, or why not.
    Swept(Result<palisade_nft::Swept, String>),
    /// Whether a new connection to the API server came about.
    Probed(crate::confirm::Probe),
    /// The state file was written, or why not.
    Saved(Result<(), String>),
    /// A packet was denied, as the kernel logged it.
    Denied(palisade_nft::Logged),
    /// So many denied packets were logged and cannot be named: they came too fast, or cannot be read.
    NotNamed(u64),
    /// The packets denied of late, and those to come.
    DeniedPackets(oneshot::Sender<crate::engine::DeniedPackets>),
    /// Bring the metrics up to date.
    Scrape(oneshot::Sender<()>),
    /// What keeps the policies from being in force, one line each; none if they are.
    Ready(oneshot::Sender<Vec<String>>),
    /// Leave the kernel as it is and end.
    Stop,
}

/// What a watch says.
#[derive(Debug)]
pub enum WatchNews {
    /// A list begins.
    Begin,
    /// An object came, changed, or is on the list.
    Put(Box<Object>),
    /// An object was deleted.
    Remove(Box<Object>),
    /// The list is complete.
    End,
    /// The watch failed and is tried again; what it said stays valid.
    Failed {
        /// Why.
        error: String,
        /// Whether the API server has said for a while that it does not know the kind.
        absent: bool,
    },
}
