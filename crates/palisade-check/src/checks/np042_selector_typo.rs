//! NP042: a selector that selects nothing, and would if one label were spelt as one that is there.

use crate::check::Finding;
use crate::matching::{self, Match};
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let subjects = (spec().field("podSelector"), matching::subjects(subject));
    let peers = subject.peers().into_iter().map(|(peer, at)| {
        let (field, found) = matching::peer(subject, peer);
        (at.field(field), found)
    });
    let misspelt = |(at, found)| match found {
        Match::Misspelt { written, meant } => Some(Finding {
            at,
            message: format!("nothing is {written}, but something is {meant}"),
            reason: "the selector selects nothing".to_string(),
            hint: format!("did you mean '{}'?", meant.replacen('=', ": ", 1)),
        }),
        Match::Possible | Match::Nothing => None,
    };
    [subjects].into_iter().chain(peers).filter_map(misspelt).collect()
}
