//! Where packets are asked.

use palisade_core::{HostScope, HostTables};

use super::{accept, goto, jump, scopes};
use crate::ruleset::{Chain, Comment, CtState, Hook, Loopback, Name, Rule, Statement};

/// The chains that the kernel sends packets to.
pub fn hooks(tables: &HostTables) -> Vec<(Name, Chain)> {
    let hook = |name: &str, comment, hook, rules: Vec<Rule>| {
        (name.into(), Chain { comment: Some(Comment::new(comment)), hook: Some(hook), rules })
    };
    let (scopes, is_audited) = (scopes(tables), !tables.shadow.is_empty());
    let has = |scope, rules: Vec<Rule>| if scopes.contains(&scope) { rules } else { Vec::new() };
    let everything = |rules| has(HostScope::Everything, rules);
    let sockets = |rules| has(HostScope::HostSockets, rules);
    let arriving =
        [everything(translated(is_audited)), sockets(vec![reply_passes()]), sockets(sent_sockets(is_audited))].concat();
    let input = [vec![over(Loopback::In)], arriving.clone()].concat();
    let forward = [sockets(replies("reply_sockets")), arriving].concat();
    let output =
        [vec![over(Loopback::Out)], sockets(replies("reply_sockets")), everything(vec![to_translated_reply()])]
            .concat();
    let mut chains = vec![
        hook("input", "what arrives at sockets, and what a Service led here", Hook::GuardInput, input),
        hook("forward", "the same on its way to another node", Hook::GuardForward, forward),
        hook("output", "replies, before they are translated back", Hook::GuardOutput, output),
    ];
    if scopes.contains(&HostScope::Everything) {
        let before = "packets to ports of nodes, before addresses are translated";
        let comment = "replies to translated connections are held against the guard of where they come from";
        let replies = Chain { comment: Some(Comment::new(comment)), hook: None, rules: translated_reply() };
        chains.extend([
            hook("prerouting", before, Hook::Guard, sent(is_audited)),
            hook("postrouting", "replies as clients see them", Hook::GuardReply, replies_as_seen()),
            ("translated_reply".into(), replies),
        ]);
    }
    chains
}

/// What clients send, before it is translated.
fn sent(is_audited: bool) -> Vec<Rule> {
    let rules = vec![over(Loopback::In), reply_passes(), vec![jump("sent")]];
    [rules, audit(is_audited, &[], "audit_sent")].concat()
}

/// The same once more, under the address and port that it was translated to.
fn translated(is_audited: bool) -> Vec<Rule> {
    let rules = vec![to_translated_reply(), vec![Statement::IsTranslated, jump("sent")]];
    [rules, audit(is_audited, &[Statement::IsTranslated], "audit_sent")].concat()
}

/// What the node itself opens through a Service is translated, too, and no reply from the port that it opens it from.
fn to_translated_reply() -> Rule {
    vec![Statement::IsReply, goto("translated_reply")]
}

fn translated_reply() -> Vec<Rule> {
    vec![vec![Statement::IsTranslated, jump("reply")]]
}

/// What arrives at sockets, translated or not.
fn sent_sockets(is_audited: bool) -> Vec<Rule> {
    [vec![vec![jump("sent_sockets")]], audit(is_audited, &[], "audit_sent_sockets")].concat()
}

fn replies_as_seen() -> Vec<Rule> {
    [vec![over(Loopback::Out)], replies("reply")].concat()
}

/// Conntrack takes the sender of the first packet that it sees for the opener: what enters mid-stream may be a reply.
fn replies(chain: &str) -> Vec<Rule> {
    vec![
        vec![Statement::IsReply, jump(chain)],
        vec![Statement::StateIs(CtState::New), Statement::NotOpeningTcp, jump(chain)],
        vec![Statement::StateIs(CtState::New), Statement::NotOpeningSctp, jump(chain)],
    ]
}

fn audit(is_audited: bool, first: &[Statement], chain: &str) -> Vec<Rule> {
    let opening = [Statement::StateIs(CtState::New), jump(chain)];
    if is_audited { vec![[first, &opening].concat()] } else { Vec::new() }
}

fn reply_passes() -> Rule {
    vec![Statement::IsReply, accept()]
}

fn over(loopback: Loopback) -> Rule {
    vec![Statement::Over(loopback), accept()]
}
