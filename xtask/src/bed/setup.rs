//! The order in which a bed comes up. What does not need the API server starts while that starts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::binaries::Binaries;
use super::component::{cni_config, containerd_config, kubelet_config, proxy_config};
use super::images::PAUSE;
use super::machine::Machine;
use super::network::{self, CONTROL, addresses, place};
use super::pki::Pki;
use super::program::{run, run_with_file};
use super::{
    Bed, Component, Host, NODES_MAX, Node, Options, Say, directory, files, images, in_parallel, leftovers, wait,
};

/// How long a component may take to start on a busy machine.
const START_PATIENCE: Duration = Duration::from_mins(2);
/// The same, for `kubectl wait`.
const START_TIMEOUT: &str = "--timeout=120s";

pub(super) fn up(options: Options, say: Say<'_>) -> anyhow::Result<Bed> {
    if options.nodes == 0 || options.nodes > NODES_MAX {
        bail!("a bed has 1 to {NODES_MAX} nodes, not {}", options.nodes);
    }
    let machine = Machine::examined()?;
    let binaries = Binaries::built(say)?;
    let lock = leftovers::lock(say)?;
    let images = images::basic(&binaries)?;
    leftovers::clear(&directory())?;

    // From here on, whatever fails, dropping the bed removes what there is of it.
    let mut bed = Bed::of(options, binaries);
    bed.lock = Some(lock);
    configure(&bed, &machine)?;
    connect(&bed)?;
    say("starting the control plane, and containerd on the nodes");
    start(&bed, &bed.control, Component::Etcd)?;
    start(&bed, &bed.control, Component::ApiServer)?;
    in_parallel(&bed.nodes, |node| {
        start_on_node(&bed, node, Component::Containerd)?;
        images.iter().try_for_each(|image| load(&bed, node, image))
    })?;
    wait_for_api_server(&bed)?;
    start(&bed, &bed.control, Component::ControllerManager)?;
    start(&bed, &bed.control, Component::Scheduler)?;
    say("starting the nodes");
    register(&mut bed)?;
    in_parallel(&bed.nodes, |node| {
        start_on_node(&bed, node, Component::Kubelet)?;
        start_on_node(&bed, node, Component::KubeProxy)
    })?;
    let ready = ["wait", "node", "--all", "--for=condition=Ready", START_TIMEOUT];
    if let Err(error) = bed.kubectl(&ready) {
        let logs = bed.nodes.iter().map(|node| files::tail(&node.host.log(Component::Kubelet.program())));
        bail!("nodes do not become ready: {error:#}; {}", logs.collect::<Vec<_>>().join("\n"));
    }
    // The controller that would do it is off.
    bed.kubectl(&["taint", "node", "--all", "node.kubernetes.io/not-ready-"])?;
    Ok(bed)
}

/// Keys, and the files that components read.
fn configure(bed: &Bed, machine: &Machine) -> anyhow::Result<()> {
    let base = directory();
    let pki = Pki::new(&base.join("pki"))?;
    let [address, _] = addresses(CONTROL);
    let server = format!("https://{address}:6443");
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", &address, "10.96.0.1"];
    pki.sign("apiserver", "kube-apiserver", None, &names.map(str::to_string))?;
    pki.client("admin", "admin", Some("system:masters"), &[], &server)?;
    pki.client("controller-manager", "system:kube-controller-manager", None, &[], &server)?;
    pki.client("scheduler", "system:kube-scheduler", None, &[], &server)?;
    pki.client("kube-proxy", "system:kube-proxy", None, &[], &server)?;

    files::write(&base.join("containerd.toml"), containerd_config(machine, PAUSE))?;
    files::write(&base.join("kube-proxy.yaml"), proxy_config(&bed.options))?;
    for node in &bed.nodes {
        let name = node.host.name();
        let [v4, v6] = node.addresses();
        let user = format!("system:node:{name}");
        pki.client(name, &user, Some("system:nodes"), &[name.to_string(), v4, v6], &server)?;
        let cgroup = leftovers::make_cgroup(name)?;
        files::write(&node.host.directory().join("kubelet.yaml"), kubelet_config(node.number, &cgroup))?;
    }
    Ok(())
}

/// The hosts, and the cables between them.
fn connect(bed: &Bed) -> anyhow::Result<()> {
    bed.outside.boot()?;
    network::lay(&bed.outside)?;
    bed.control.boot()?;
    network::plug(&bed.outside, &bed.control, CONTROL)?;
    in_parallel(&bed.nodes, |node| {
        node.host.boot()?;
        network::plug(&bed.outside, &node.host, place(node.number))
    })
}

/// Makes the Node objects, so that the controller gives them their pod ranges while kubelet and its runtime start, and
/// tells the ranges to whoever needs them.
fn register(bed: &mut Bed) -> anyhow::Result<()> {
    let names = bed.nodes.iter().map(|node| node.host.name());
    let objects: Vec<String> =
        names.map(|name| format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n")).collect();
    bed.apply(&objects.join("---\n"))?;
    bed.kubectl(&["wait", "node", "--all", "--for=jsonpath={.spec.podCIDRs}", START_TIMEOUT])?;
    for index in 0..bed.nodes.len() {
        let name = bed.nodes[index].host.name();
        let ranges = bed.kubectl(&["get", "node", name, "--output=jsonpath={.spec.podCIDRs[*]}"])?;
        bed.nodes[index].pod_cidrs = ranges.split_whitespace().map(str::to_string).collect();
    }
    for node in &bed.nodes {
        let file = node.host.directory().join("cni/10-pods.conflist");
        files::write(&file, cni_config(&node.pod_cidrs, &bed.options))?;
        route(bed, &node.host)?;
    }
    route(bed, &bed.control)?;
    route(bed, &bed.outside)
}

/// Tells a host the way to the pods of all other nodes.
fn route(bed: &Bed, host: &Host) -> anyhow::Result<()> {
    let others = bed.nodes.iter().filter(|node| node.host.name() != host.name());
    network::route(host, others.map(|node| (place(node.number), &node.pod_cidrs[..])))
}

pub(super) fn boot_node(bed: &Bed, node: &Node) -> anyhow::Result<()> {
    node.host.boot()?;
    network::plug(&bed.outside, &node.host, place(node.number))?;
    route(bed, &node.host)
}

/// Starts a component of a node; containerd is waited for.
pub(super) fn start_on_node(bed: &Bed, node: &Node, component: Component) -> anyhow::Result<()> {
    node.host.start(&bed.binaries.program(component.program()), &component.arguments(node.number))?;
    if component == Component::Containerd {
        let ctr = bed.binaries.program("ctr");
        wait_for(&node.host, component, || Ok(run(node.host.command(&ctr)?.arg("version")).is_ok()))?;
    }
    Ok(())
}

pub(super) fn start_api_server(bed: &Bed, more: &[&str]) -> anyhow::Result<()> {
    let mut arguments = Component::ApiServer.arguments(0);
    arguments.extend(more.iter().map(ToString::to_string));
    bed.control.start(&bed.binaries.program(Component::ApiServer.program()), &arguments)?;
    wait_for_api_server(bed)
}

pub(super) fn load(bed: &Bed, node: &Node, image: &Path) -> anyhow::Result<()> {
    let file = files::open(image)?;
    let mut import = node.host.command(bed.binaries.program("ctr"))?;
    import.args(["--namespace=k8s.io", "images", "import", "-"]);
    run_with_file(&mut import, file)
        .with_context(|| format!("cannot load {} on {}", image.display(), node.host.name()))?;
    Ok(())
}

fn start(bed: &Bed, host: &Host, component: Component) -> anyhow::Result<()> {
    host.start(&bed.binaries.program(component.program()), &component.arguments(0))
}

fn wait_for_api_server(bed: &Bed) -> anyhow::Result<()> {
    wait_for(&bed.control, Component::ApiServer, || Ok(bed.kubectl(&["get", "--raw=/readyz"]).is_ok()))
}

/// Waits until a component answers; one that has ended will not.
fn wait_for(host: &Host, component: Component, answers: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let name = component.program();
    let failed = || format!("{name} on {} does not start; {}", host.name(), files::tail(&host.log(name)));
    wait(START_PATIENCE, || {
        if host.processes(name).is_empty() {
            bail!(failed());
        }
        answers()
    })?
    .with_context(failed)
}
