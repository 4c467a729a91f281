//! NP005: an `ipBlock` of which the exceptions leave nothing.

use palisade_core::{AddressSet, Peer};

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (peer, at) in subject.peers() {
        let Peer::Block { cidr, except } = peer else { continue };
        let mut left: AddressSet = [cidr].into_iter().collect();
        for block in except {
            left.remove(block.into());
        }
        if left.is_empty() {
            found.push(Finding {
                at: at.field("ipBlock").field("except"),
                message: format!("the exceptions leave no address of {cidr}"),
                reason: "the item matches nobody, and looks as if it allowed somebody".to_string(),
                hint: "remove the item, or the exception that goes too far".to_string(),
            });
        }
    }
    found
}
