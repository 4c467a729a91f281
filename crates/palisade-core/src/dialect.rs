//! Whose reading of NetworkPolicies is asked for.

use std::fmt;

/// A reading of NetworkPolicies, as its makers document it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// That of docs/semantics.md, which Palisade enforces.
    #[default]
    Palisade,
    /// The text of the API, which leaves open whether an `ipBlock` holds pods and nodes. By its rules it holds none: what then is denied, and
    /// allowed by Palisade, is undefined.
    Kubernetes,
    /// That of netpol-analyzer of np-guard: IPv4 alone; an `ipBlock` never holds a pod; hostNetwork pods are pods as others; the pods of a
    /// workload are one end, which its first pod stands for, without flows among themselves. Of flows of nodes and Services it says nothing.
    NpGuard,
    /// Calico.
    Calico,
    /// Cilium.
    Cilium,
    /// Dataplane V2 of GKE, which is Cilium.
    GkeDataplaneV2,
    /// Antrea.
    Antrea,
    /// The VPC CNI of AWS.
    Aws,
    /// kube-router.
    KubeRouter,
}

/// A rule of a dialect that is not Palisade's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Its id, such as `D01`. It never changes.
    pub id: &'static str,
    /// What is otherwise: lower case, no final dot.
    pub says: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// Whether verdicts under the dialect follow it; where they do not, it is told beside them.
    pub is_judged: bool,
}

/// D01 of Cilium.
pub const BLOCKS_HOLD_NO_PODS: Deviation = Deviation {
    id: "D01",
    says: "an ipBlock holds no pod of the cluster, 0.0.0.0/0 included",
    source: "cilium Documentation/security/policy/layer3.rst, 'IP/CIDR based'; cilium#9209",
    is_judged: true,
};

/// D02 of Cilium.
pub const BLOCKS_HOLD_NO_NODES: Deviation = Deviation {
    id: "D02",
    says: "an ipBlock holds no node of the cluster, unless policy-cidr-match-mode is nodes",
    source: "cilium Documentation/security/policy/layer3.rst, 'Selecting nodes'; cilium#12277",
    is_judged: true,
};

/// D15 of Antrea.
pub const SERVICE_TO_ITSELF: Deviation = Deviation {
    id: "D15",
    says: "what a Service leads back to the pod that sent it is always allowed",
    source: "antrea#5687",
    is_judged: true,
};

/// D18 of AWS.
pub const PORTS_OF_AN_ADDRESS: Deviation =
    told("D18", "at most 24 ports and protocols count for one address", "Amazon EKS User Guide");

/// D24 of Cilium.
pub const SCTP_IS_OPT_IN: Deviation = told("D24", "SCTP is passed over, unless it is switched on", "cilium#5719");

const fn told(id: &'static str, says: &'static str, source: &'static str) -> Deviation {
    Deviation { id, says, source, is_judged: false }
}

const CALICO: [Deviation; 3] = [
    told(
        "D04",
        "through a NodePort or load balancer with externalTrafficPolicy Cluster a client comes as a node, or from the tunnel of one, whose address is one of pods",
        "calico#2088; measured in kkattl/failopen",
    ),
    told(
        "D10",
        "with IPIP another node comes from the tunnel, whose address is one of pods and no InternalIP",
        "measured in kkattl/failopen",
    ),
    told("D26", "a change counts for new connections alone", "calico networkpolicy documentation"),
];

const CILIUM: [Deviation; 4] = [
    BLOCKS_HOLD_NO_PODS,
    BLOCKS_HOLD_NO_NODES,
    told(
        "D05",
        "through a NodePort of another node with externalTrafficPolicy Cluster a client may come from an address of pods",
        "cilium Documentation/network/kubernetes/caveats.rst; measured in kkattl/failopen",
    ),
    SCTP_IS_OPT_IN,
];

const ANTREA: [Deviation; 2] = [
    SERVICE_TO_ITSELF,
    told(
        "D07",
        "through a NodePort of kube-proxy a client comes from the gateway of a node, whose address is one of pods",
        "antrea#1816",
    ),
];

const AWS: [Deviation; 4] = [
    told(
        "D16",
        "egress to a ClusterIP is asked before it is translated: a peer has to select the selector of the Service",
        "amazon-network-policy-controller-k8s, endpoints.go",
    ),
    told("D17", "the port of a Service has to be that of its pods", "Amazon EKS User Guide"),
    PORTS_OF_AN_ADDRESS,
    told("D19", "rules of the family that the cluster does not have are passed over", "Amazon EKS User Guide"),
];

const KUBE_ROUTER: [Deviation; 2] = [
    told("D25", "isolated pods accept the common types of ICMP", "kube-router network policy controller"),
    told("D26", "established connections stay when a policy comes", "kube-router network policy controller"),
];

const OPEN: &str =
    "networking.k8s.io/v1 IPBlock; kubernetes.io, Network Policies: 'These should be cluster-external IPs'";

const KUBERNETES: [Deviation; 2] = [
    Deviation { says: "it is left open whether an ipBlock holds pods", source: OPEN, ..BLOCKS_HOLD_NO_PODS },
    Deviation { says: "it is left open whether an ipBlock holds nodes", source: OPEN, ..BLOCKS_HOLD_NO_NODES },
];

const NP_GUARD: [Deviation; 1] =
    [Deviation { source: "np-guard/netpol-analyzer, its tests of connectivity", ..BLOCKS_HOLD_NO_PODS }];

impl Dialect {
    /// Every dialect with its name.
    pub const NAMES: [(Dialect, &'static str); 9] = [
        (Dialect::Palisade, "palisade"),
        (Dialect::Kubernetes, "kubernetes"),
        (Dialect::NpGuard, "np-guard"),
        (Dialect::Calico, "calico"),
        (Dialect::Cilium, "cilium"),
        (Dialect::GkeDataplaneV2, "gke-dataplane-v2"),
        (Dialect::Antrea, "antrea"),
        (Dialect::Aws, "aws"),
        (Dialect::KubeRouter, "kube-router"),
    ];

    /// In what it is not Palisade's, by id.
    pub fn deviations(self) -> &'static [Deviation] {
        match self {
            Dialect::Palisade => &[],
            Dialect::Kubernetes => &KUBERNETES,
            Dialect::NpGuard => &NP_GUARD,
            Dialect::Calico => &CALICO,
            Dialect::Cilium | Dialect::GkeDataplaneV2 => &CILIUM,
            Dialect::Antrea => &ANTREA,
            Dialect::Aws => &AWS,
            Dialect::KubeRouter => &KUBE_ROUTER,
        }
    }

    /// The other reading that it leaves open, which allows whatever its own does; where the two differ, a flow is undefined.
    pub fn broadest(self) -> Option<Dialect> {
        (self == Dialect::Kubernetes).then_some(Dialect::Palisade)
    }

    /// Its own rule of an id.
    pub fn rule(self, id: &str) -> Option<&'static Deviation> {
        self.deviations().iter().find(|own| own.id == id)
    }

    /// Whether it follows a rule.
    pub fn has(self, deviation: &Deviation) -> bool {
        self.rule(deviation.id).is_some()
    }
}

impl fmt::Display for Dialect {
    /// Its name: `gke-dataplane-v2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Dialect::NAMES.into_iter().find(|(dialect, _)| dialect == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

impl fmt::Display for Deviation {
    /// `D01: an ipBlock holds no pod of the cluster, 0.0.0.0/0 included (source)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.id, self.says, self.source)
    }
}
