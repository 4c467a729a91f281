//! The components of Kubernetes, and how each is started.

use super::machine::Machine;
use super::network::{addresses, place};
use super::{Options, ProxyMode, network};

/// The ranges from which pods get their addresses.
pub const POD_RANGES: &str = "10.244.0.0/16,fd44::/48";
/// The ranges of Services.
pub const SERVICE_RANGES: &str = "10.96.0.0/16,fd96::/112";

/// Where the hosts of the bed see its keys and certificates.
const PKI: &str = "/run/bed/pki";
/// Where they see the configuration of components.
const CONFIGURATION: &str = "/run/bed";

/// A component of the control plane or of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The store of the API server.
    Etcd,
    /// `kube-apiserver`
    ApiServer,
    /// `kube-controller-manager`
    ControllerManager,
    /// `kube-scheduler`
    Scheduler,
    /// The container runtime of a node. Containers outlive it.
    Containerd,
    /// `kubelet`
    Kubelet,
    /// `kube-proxy`
    KubeProxy,
}

impl Component {
    /// Those of the control plane, in the order in which they are started.
    pub const CONTROL: [Component; 4] =
        [Component::Etcd, Component::ApiServer, Component::ControllerManager, Component::Scheduler];
    /// Those of a node, in the order in which they are started.
    pub const NODE: [Component; 3] = [Component::Containerd, Component::Kubelet, Component::KubeProxy];

    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Component::Etcd => "etcd",
            Component::ApiServer => "kube-apiserver",
            Component::ControllerManager => "kube-controller-manager",
            Component::Scheduler => "kube-scheduler",
            Component::Containerd => "containerd",
            Component::Kubelet => "kubelet",
            Component::KubeProxy => "kube-proxy",
        }
    }

    /// Its arguments; `node` counts from 1 and is of no meaning for the control plane.
    pub(super) fn arguments(self, node: u8) -> Vec<String> {
        let text = match self {
            Component::Etcd => "--data-dir=/var/lib/etcd --unsafe-no-fsync --listen-client-urls=http://127.0.0.1:2379 \
                --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380"
                .to_string(),
            Component::ApiServer => {
                let [address, _] = addresses(network::CONTROL);
                format!(
                    "--etcd-servers=http://127.0.0.1:2379 --advertise-address={address} --secure-port=6443 \
                    --service-cluster-ip-range={SERVICE_RANGES} --authorization-mode=Node,RBAC \
                    --enable-admission-plugins=NodeRestriction --allow-privileged=true \
                    --tls-cert-file={PKI}/apiserver.crt --tls-private-key-file={PKI}/apiserver.key \
                    --client-ca-file={PKI}/ca.crt --service-account-issuer=https://kubernetes.default.svc \
                    --service-account-key-file={PKI}/tokens.pub --service-account-signing-key-file={PKI}/tokens.key \
                    --kubelet-client-certificate={PKI}/admin.crt --kubelet-client-key={PKI}/admin.key \
                    --kubelet-certificate-authority={PKI}/ca.crt --kubelet-preferred-address-types=InternalIP"
                )
            }
            // The two controllers that are off would evict pods of Nodes that only the API knows.
            Component::ControllerManager => format!(
                "--kubeconfig={PKI}/controller-manager.kubeconfig --root-ca-file={PKI}/ca.crt \
                --service-account-private-key-file={PKI}/tokens.key --use-service-account-credentials=true \
                --allocate-node-cidrs=true --cluster-cidr={POD_RANGES} --node-cidr-mask-size-ipv4=24 \
                --node-cidr-mask-size-ipv6=64 --service-cluster-ip-range={SERVICE_RANGES} --leader-elect=false \
                --controllers=*,-node-lifecycle-controller,-taint-eviction-controller \
                --kube-api-qps=1000 --kube-api-burst=1000 --flex-volume-plugin-dir=/var/lib/volume-plugins"
            ),
            Component::Scheduler => format!(
                "--kubeconfig={PKI}/scheduler.kubeconfig --leader-elect=false --kube-api-qps=1000 --kube-api-burst=1000"
            ),
            Component::Containerd => format!("--config={CONFIGURATION}/containerd.toml"),
            Component::Kubelet => format!(
                "--kubeconfig={PKI}/node{node}.kubeconfig --config={CONFIGURATION}/node{node}/kubelet.yaml --node-ip={}",
                addresses(place(node)).join(",")
            ),
            Component::KubeProxy => format!("--config={CONFIGURATION}/kube-proxy.yaml"),
        };
        text.split_whitespace().map(str::to_string).collect()
    }
}

pub(super) fn containerd_config(machine: &Machine, pause: &str) -> String {
    format!(
        "version = 3
disabled_plugins = ['io.containerd.nri.v1.nri']
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{pause}'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['{plugins}']
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
  BinaryName = '{runc}'
",
        plugins = machine.plugins.display(),
        runc = machine.runc.display(),
    )
}

/// Pods are kept out of the machine's own tree of cgroups: all of theirs are under `cgroup`.
pub(super) fn kubelet_config(node: u8, cgroup: &str) -> String {
    let [address, _] = addresses(place(node));
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: '{PKI}/ca.crt'}}}}
authorization: {{mode: Webhook}}
address: {address}
tlsCertFile: '{PKI}/node{node}.crt'
tlsPrivateKeyFile: '{PKI}/node{node}.key'
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
localStorageCapacityIsolation: false
serializeImagePulls: false
makeIPTablesUtilChains: false
resolvConf: ''
volumePluginDir: /var/lib/volume-plugins
kubeAPIQPS: 1000
kubeAPIBurst: 1000
evictionHard: {{memory.available: 100Mi}}
"
    )
}

pub(super) fn proxy_config(options: &Options) -> String {
    let mode = match options.proxy_mode {
        ProxyMode::Nftables => "nftables",
        ProxyMode::Iptables => "iptables",
    };
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
clientConnection: {{kubeconfig: '{PKI}/kube-proxy.kubeconfig'}}
clusterCIDR: {POD_RANGES}
conntrack: {{maxPerCore: 0}}
"
    )
}

/// The pods' network on a node: a bridge, with the addresses that the cluster gave to the node.
pub(super) fn cni_config(ranges: &[String], options: &Options) -> String {
    let ranges: Vec<String> = ranges.iter().map(|range| format!("[{{\"subnet\": \"{range}\"}}]")).collect();
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": {}, "hairpinMode": true,
    "ipam": {{"type": "host-local", "ranges": [{}], "routes": [{{"dst": "0.0.0.0/0"}}, {{"dst": "::/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"#,
        options.ip_masq,
        ranges.join(", ")
    )
}
