//! docs/outside-hosts.md, step by step.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

const DOCUMENT: &str = include_str!("../../../../docs/outside-hosts.md");
const SECTION: &str = "\n## From nothing to a guarded PostgreSQL\n";
/// Where the document has the list.
pub const LIST: &str = "/etc/palisade/host.yaml";
/// Where it has the kubeconfig.
pub const KUBECONFIG: &str = "/etc/palisade/prod.kubeconfig";
/// `removeDelaySeconds`, in place of the minute of the document.
pub const REMOVE_DELAY: Duration = Duration::from_secs(4);

/// The steps of the document, with values of the test in it.
pub struct Document {
    pub user: String,
    pub kubeconfig: String,
    pub install: String,
    pub list: String,
    pub check: String,
    pub host: String,
    pub status: String,
    pub query: String,
}

impl Document {
    /// For a server with this address.
    pub fn read(server: &str) -> anyhow::Result<Document> {
        let (_, section) = DOCUMENT.split_once(SECTION).context("the document has no section on PostgreSQL")?;
        let section = section.split("\n## ").next().unwrap_or(section);
        let section = replaced(section, "10.0.0.5", server)?;
        let delay = format!("removeDelaySeconds: {}", REMOVE_DELAY.as_secs());
        let section = replaced(&section, "removeDelaySeconds: 60", &delay)?;
        // Every other piece between fences is a block, after the name of its language.
        let blocks = section.split("```").skip(1).step_by(2);
        let blocks = blocks.filter_map(|block| block.split_once('\n')).map(|(_, text)| text.to_string());
        let blocks: Vec<String> = blocks.collect();
        let Ok([user, kubeconfig, install, list, check, host, status, query]) = <[String; 8]>::try_from(blocks) else {
            bail!("the document has other steps than the test takes");
        };
        Ok(Document { user, kubeconfig, install, list, check, host, status, query })
    }
}

/// A text in which something that must be there is replaced.
pub fn replaced(text: &str, from: &str, to: &str) -> anyhow::Result<String> {
    ensure!(text.contains(from), "{from} is not in {text}");
    Ok(text.replace(from, to))
}
