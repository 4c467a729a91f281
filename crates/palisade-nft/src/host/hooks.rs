//! Where packets are asked.

use palisade_core::{HostScope, HostTables};

use super::{accept, goto, jump, scopes};
use crate::ruleset::{Chain, Comment, CtState, Hook, Loopback, Name, Rule, Statement};

/// The chains that the kernel sends packets to.
pub fn hooks(tables: &HostTables) -> Vec<(Name, Chain)> {
    let hook = |name: &str, comment, hook, rules: Vec<Rule>| {
        (name.into(), Chain { comment: Some(Comment::new(comment)), hook: Some(hook), rules })
    };
    let (is_audited, has_sockets) = (!tables.shadow.is_empty(), scopes(tables).contains(&HostScope::HostSockets));
    let arriving = [translated(is_audited), sent_sockets(is_audited, has_sockets)].concat();
    let input = [vec![over(Loopback::In)], arriving.clone()].concat();
    let forward = [reply_sockets(has_sockets), arriving].concat();
    let output = [vec![over(Loopback::Out)], reply_sockets(has_sockets), translated_reply()].concat();
    let comment = "replies to translated connections are held against the guard of where they come from";
    let replies = Chain { comment: Some(Comment::new(comment)), hook: None, rules: translated_reply() };
    vec![
        hook("prerouting", "packets to ports of nodes, before addresses are translated", Hook::Guard, sent(is_audited)),
        hook("input", "the same once more, where a Service led here", Hook::GuardInput, input),
        hook("forward", "the same once more, where a Service leads to another node", Hook::GuardForward, forward),
        hook("output", "replies to translated connections", Hook::GuardOutput, output),
        hook("postrouting", "replies as clients see them", Hook::GuardReply, replies_as_seen()),
        ("translated_reply".into(), replies),
    ]
}

/// What clients send, before it is translated.
fn sent(is_audited: bool) -> Vec<Rule> {
    let rules = vec![over(Loopback::In), vec![Statement::IsReply, accept()], vec![jump("sent")]];
    [rules, audit(is_audited, &[], "audit_sent")].concat()
}

/// The same once more, under the address and port that it was translated to.
fn translated(is_audited: bool) -> Vec<Rule> {
    let rules = vec![vec![Statement::IsReply, goto("translated_reply")], vec![Statement::IsTranslated, jump("sent")]];
    [rules, audit(is_audited, &[Statement::IsTranslated], "audit_sent")].concat()
}

fn translated_reply() -> Vec<Rule> {
    vec![vec![Statement::IsTranslated, jump("reply")]]
}

/// What arrives at sockets, translated or not.
fn sent_sockets(is_audited: bool, has_sockets: bool) -> Vec<Rule> {
    if !has_sockets {
        return Vec::new();
    }
    [vec![vec![jump("sent_sockets")]], audit(is_audited, &[], "audit_sent_sockets")].concat()
}

/// What sockets answer, before it is translated back.
fn reply_sockets(has_sockets: bool) -> Vec<Rule> {
    if has_sockets { replies("reply_sockets") } else { Vec::new() }
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

fn over(loopback: Loopback) -> Rule {
    vec![Statement::Over(loopback), accept()]
}
