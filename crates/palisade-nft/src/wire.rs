//! Netlink as `nf_tables` speaks it: bytes from and to typed values, no I/O.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h` and `linux/netlink.h`;
//! the meaning of attributes is in <https://docs.kernel.org/networking/netlink_spec/nftables.html>.

pub(crate) mod attributes;
pub(crate) mod batch;
pub(crate) mod data;
pub(crate) mod decode;
pub(crate) mod expressions;
pub(crate) mod message;
pub(crate) mod numbers;
pub(crate) mod statements;
