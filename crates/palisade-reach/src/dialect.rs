//! Whose reading of policies is asked for.

/// A reading of NetworkPolicies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// That of docs/semantics.md, which Palisade enforces.
    #[default]
    Palisade,
    /// That of netpol-analyzer of np-guard: IPv4 alone; an `ipBlock` never holds a pod; hostNetwork pods are pods as others; the pods of a
    /// workload are one end, which its first pod stands for, without flows among themselves.
    NpGuard,
}
