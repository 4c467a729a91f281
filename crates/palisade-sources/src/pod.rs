//! v1 `Pod`, and the pod template that workloads share. What cannot be read is reported and left out; the pod stays,
//! or its policies would have nobody to isolate.

use std::net::IpAddr;

use palisade_core::{ContainerPort, Labels, Level, NodeName, Port};

use crate::metadata::{self, Metadata, Owner, valid};
use crate::network_policy::{port_number, protocol};
use crate::reading::{At, Reading};
use crate::syntax;
use crate::tree::{Value, shortened};

/// A pod as the input has it.
#[derive(Debug)]
pub struct PodObject {
    pub template: Template,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// `status.hostIPs`: addresses of its node.
    pub node_addresses: Vec<IpAddr>,
    /// Phase Succeeded or Failed.
    pub finished: bool,
    /// The owner that controls it.
    pub owner: Option<Owner>,
}

/// What a pod is before it is scheduled: `PodTemplateSpec`.
#[derive(Clone, Debug, Default)]
pub struct Template {
    pub labels: Labels,
    /// `spec.nodeName`.
    pub node: Option<NodeName>,
    pub host_network: bool,
    pub ports: Vec<ContainerPort>,
}

/// Reads a pod.
pub fn read(root: &At<'_>, metadata: Metadata, reading: &mut Reading) -> PodObject {
    let mut template = Template { labels: metadata.labels, ..Template::default() };
    if let Some(spec) = root.field("spec") {
        read_spec(&spec, &mut template, reading);
    }
    let mut pod = PodObject {
        template,
        addresses: Vec::new(),
        node_addresses: Vec::new(),
        finished: false,
        owner: metadata.owner,
    };
    if let Some(status) = root.field("status") {
        status.misspelt_fields(&["phase", "podIP", "podIPs", "hostIP", "hostIPs"], reading);
        pod.finished = matches!(status.node.get_text("phase"), Some("Succeeded" | "Failed"));
        pod.addresses = addresses(&status, "podIP", "podIPs", reading);
        pod.node_addresses = addresses(&status, "hostIP", "hostIPs", reading);
    }
    pod
}

/// Reads a `PodTemplateSpec`.
pub fn read_template(at: &At<'_>, reading: &mut Reading) -> Template {
    let mut template = Template::default();
    if let Some(metadata) = at.field("metadata") {
        template.labels = metadata.field("labels").map(|at| metadata::labels(&at, reading)).unwrap_or_default();
    }
    if let Some(spec) = at.field("spec") {
        read_spec(&spec, &mut template, reading);
    }
    template
}

fn read_spec(spec: &At<'_>, template: &mut Template, reading: &mut Reading) {
    if spec.entries(reading).is_none() {
        return;
    }
    spec.misspelt_fields(&["nodeName", "hostNetwork", "containers", "initContainers"], reading);
    template.node = spec.field("nodeName").and_then(|at| {
        let text = at.text(reading)?;
        (!text.is_empty() && valid(&at, text, syntax::dns_subdomain(text), reading)).then(|| reading.share(text))
    });
    template.host_network = spec.field("hostNetwork").and_then(|at| at.boolean(reading)).unwrap_or(false);
    for (list, sidecars_only) in [("containers", false), ("initContainers", true)] {
        let Some(containers) = spec.field(list) else { continue };
        for container in containers.items(reading).into_iter().flatten() {
            // An init container that restarts always is a sidecar and serves beside the others.
            if !sidecars_only || container.node.get_text("restartPolicy") == Some("Always") {
                read_ports(&container, &mut template.ports, reading);
            }
        }
    }
}

fn read_ports(container: &At<'_>, ports: &mut Vec<ContainerPort>, reading: &mut Reading) {
    container.misspelt_fields(&["ports", "restartPolicy"], reading);
    let Some(at) = container.field("ports") else { return };
    for item in at.items(reading).into_iter().flatten() {
        ports.extend(container_port(&item, reading));
    }
}

fn container_port(at: &At<'_>, reading: &mut Reading) -> Option<ContainerPort> {
    at.entries(reading)?;
    at.known_fields(&["name", "containerPort", "protocol", "hostPort", "hostIP"], Level::Warning, reading);
    let port = at.required("containerPort", "a port", reading)?;
    let port = port_number(&port, reading)?;
    let transport = protocol(at, reading)?;
    let name = at.field("name").and_then(|at| {
        let text = at.text(reading)?;
        valid(&at, text, syntax::port_name(text), reading).then(|| reading.share(text))
    });
    let (host_port, host_address) = (host_port(at, reading), host_address(at, reading));
    Some(ContainerPort { name, transport, port, host_port, host_address })
}

/// `hostPort`; 0 is none.
fn host_port(at: &At<'_>, reading: &mut Reading) -> Option<Port> {
    at.field("hostPort").filter(|at| at.node.value != Value::Int(0)).and_then(|at| port_number(&at, reading))
}

/// `hostIP`; the unspecified address and empty text are every address.
fn host_address(at: &At<'_>, reading: &mut Reading) -> Option<IpAddr> {
    let address = at.field("hostIP").and_then(|at| address(&at, reading))?;
    (!address.is_unspecified()).then_some(address)
}

/// An address; empty text is none.
pub fn address(at: &At<'_>, reading: &mut Reading) -> Option<IpAddr> {
    let text = at.text(reading).filter(|text| !text.is_empty())?;
    let parsed = text.parse::<IpAddr>();
    if parsed.is_err() {
        reading.error(at, format!("expected an IP address, found '{}'", shortened(text)));
    }
    parsed.ok().map(|address| address.to_canonical())
}

/// The addresses of a status: one field holds the first, another the list of all. Empty text is none yet.
fn addresses(status: &At<'_>, one: &str, all: &str, reading: &mut Reading) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut add = |at: &At<'_>, reading: &mut Reading| {
        found.extend(address(at, reading).filter(|address| !found.contains(address)));
    };
    if let Some(at) = status.field(one) {
        add(&at, reading);
    }
    if let Some(at) = status.field(all) {
        for item in at.items(reading).into_iter().flatten() {
            // `PodIP` and `HostIP` are mappings of one field.
            match &item.node.value {
                Value::Map(_) => {
                    if let Some(at) = item.field("ip") {
                        add(&at, reading);
                    }
                }
                _ => add(&item, reading),
            }
        }
    }
    found
}
