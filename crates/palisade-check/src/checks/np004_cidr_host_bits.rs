//! NP004: a block of addresses with bits set beyond its prefix.

use std::net::IpAddr;

use palisade_core::Peer;
use palisade_sources::{FieldPath, Form};

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (peer, at) in subject.peers() {
        let Peer::Block { cidr, except } = peer else { continue };
        let at = at.field("ipBlock");
        let excepted = except.iter().enumerate().map(|(index, block)| (block, at.clone().field("except").item(index)));
        for (block, at) in [(cidr, at.clone().field("cidr"))].into_iter().chain(excepted) {
            found.extend(address_of(subject, &at).filter(|address| *address != block.addr()).map(|address| Finding {
                at,
                message: format!("the block of {address} is {block}"),
                reason:
                    "host bits mean nothing here, and other engines have dropped the whole rule for them".to_string(),
                hint: format!("write {block}, or {address}/{} for the one address", block.max_prefix_len()),
            }));
        }
    }
    found
}

/// The address as it is written before the slash.
fn address_of(subject: &Subject<'_>, at: &FieldPath) -> Option<IpAddr> {
    let Form::Text(text) = subject.form(at) else { return None };
    text.split('/').next()?.parse().ok()
}
