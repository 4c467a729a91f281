//! Config files of kube-restrict-ip: what holds of them, and what is said of them.

use std::time::Instant;

use palisade_core::Diagnostic;

use super::Engine;
use crate::config::{Condition, ConfigFile};
use crate::report::{ConfigFileReport, ObjectFindings, Obstacle};

/// What stands in the way is shown under this name.
const OBSTACLE: &str = "config-file";

impl Engine {
    /// The config files are like this now.
    pub(super) fn take_configs(&mut self, files: Vec<ConfigFile>) {
        let policies = files.iter().filter_map(|file| file.holds.as_ref()).map(|config| config.policy.clone());
        let update = self.live.set_files(policies);
        self.take_obstacles(OBSTACLE, files.iter().filter_map(obstacle).collect());
        self.configs = Some(files);
        self.look_whether_host_is_known();
        self.take_update(update, Instant::now());
        self.warn_of_gaps();
    }

    /// Says who of the cluster is not among the networks of config files, as soon as the cluster is known. Who comes later is in the status.
    pub(super) fn warn_of_gaps(&mut self) {
        if !self.is_listed() {
            return;
        }
        let holding = self.configs.iter().flatten().filter_map(|file| file.holds.as_ref());
        let gaps: Vec<Diagnostic> = holding.flat_map(|config| config.gaps(self.snapshot())).collect();
        for gap in gaps.iter().filter(|gap| !self.gaps_told.contains(gap)) {
            tracing::warn!("{gap}");
        }
        self.gaps_told = gaps;
    }

    /// Whether what config files say is known: there is none to wait for.
    pub(super) fn configs_are_known(&self) -> bool {
        self.configs.is_some() || self.settings.configs.is_empty()
    }

    /// The config files, and how they are.
    pub(super) fn config_reports(&self) -> Vec<ConfigFileReport> {
        let report = |file: &ConfigFile| ConfigFileReport {
            path: file.path.clone(),
            ip_chain: file.holds.as_ref().map(|config| config.policy.name.to_string()),
            condition: file.condition.name().to_string(),
        };
        self.configs.iter().flatten().map(report).collect()
    }

    /// What is wrong with config files that hold, and who of the cluster is not among their networks.
    pub(super) fn config_findings(&self) -> Vec<ObjectFindings> {
        let finding = |file: &ConfigFile| {
            let config = file.holds.as_ref()?;
            let gaps = config.gaps(self.snapshot());
            let found: Vec<&Diagnostic> = config.diagnostics.iter().chain(&gaps).collect();
            let line = |found: &&Diagnostic| match &found.place {
                Some(place) => format!("{}: line {}: {}", found.level, place.line, found.message),
                None => format!("{}: {}", found.level, found.message),
            };
            let object = format!("ipChain {} ({})", config.policy.name, file.path.display());
            (!found.is_empty()).then(|| ObjectFindings { object, findings: found.iter().map(line).collect() })
        };
        self.configs.iter().flatten().filter_map(finding).collect()
    }

    /// How many config files are in each condition.
    pub(super) fn count_configs(&self) {
        self.metrics.config_files(self.configs.iter().flatten().map(|file| file.condition.name()));
    }
}

fn obstacle(file: &ConfigFile) -> Option<Obstacle> {
    let path = file.path.display();
    let (found, hint) = match &file.condition {
        Condition::InForce => return None,
        Condition::WaitedFor => (format!("{path} is not there"), None),
        Condition::Gone => {
            let hint = "to guard its ports no more, start the agent without it".to_string();
            (format!("{path} is gone"), Some(hint))
        }
        Condition::Unreadable { problems, .. } => {
            let first = problems.first().map(String::as_str).unwrap_or_default();
            let more = problems.len().saturating_sub(1);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            (format!("{first}{more}"), None)
        }
    };
    let means = file.condition.means().unwrap_or_default().to_string();
    Some(Obstacle { name: OBSTACLE.to_string(), found, means, hint })
}
