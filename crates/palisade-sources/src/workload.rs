//! The kinds that make pods: Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob.

use palisade_core::WorkloadKind;

use crate::metadata::{Metadata, Owner};
use crate::pod::{self, Template};
use crate::reading::{At, Reading};

/// A workload as the input has it.
#[derive(Debug)]
pub struct WorkloadObject {
    /// `spec.replicas`; 1 for the kinds that have none.
    pub replicas: usize,
    /// `spec.ordinals.start` of a StatefulSet: the number of its first pod.
    pub first_ordinal: usize,
    /// The pods it makes.
    pub template: Template,
    /// The owner that controls it, such as the Deployment of a ReplicaSet.
    pub owner: Option<Owner>,
}

/// Reads a workload.
pub fn read(kind: WorkloadKind, root: &At<'_>, metadata: Metadata, reading: &mut Reading) -> WorkloadObject {
    let mut workload =
        WorkloadObject { replicas: 1, first_ordinal: 0, template: Template::default(), owner: metadata.owner };
    let Some(spec) = root.required("spec", "a pod template", reading) else { return workload };
    spec.misspelt_fields(&["template", "jobTemplate", "replicas", "ordinals"], reading);
    if kind == WorkloadKind::CronJob {
        let job = spec.field("jobTemplate");
        if let Some(spec) = job.as_ref().and_then(|job| job.field("spec")) {
            read_template(&spec, &mut workload, reading);
        } else {
            reading.error(&spec, "jobTemplate: expected the template of a job, found nothing");
        }
        return workload;
    }
    read_template(&spec, &mut workload, reading);
    if !matches!(kind, WorkloadKind::Job | WorkloadKind::DaemonSet) {
        workload.replicas = natural(&spec, "replicas", 1, reading);
    }
    if let Some(ordinals) = spec.field("ordinals").filter(|_| kind == WorkloadKind::StatefulSet) {
        workload.first_ordinal = natural(&ordinals, "start", 0, reading);
    }
    workload
}

fn read_template(spec: &At<'_>, workload: &mut WorkloadObject, reading: &mut Reading) {
    if let Some(at) = spec.required("template", "a pod template", reading) {
        workload.template = pod::read_template(&at, reading);
    }
}

/// A number that is not negative.
fn natural(at: &At<'_>, name: &str, default: usize, reading: &mut Reading) -> usize {
    let Some(at) = at.field(name) else { return default };
    let Some(number) = at.integer(reading) else { return default };
    usize::try_from(number).unwrap_or_else(|_| {
        reading.error(&at, format!("expected a number that is not negative, found {number}"));
        default
    })
}
