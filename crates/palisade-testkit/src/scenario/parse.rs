//! From Markdown to steps. Whatever is not understood is an error with its line, never passed over.

use serde::Deserialize;

use palisade_core::{Audit, Flow, Level, Verdict};
use palisade_sources::SourceText;
use palisade_sources::restrict_ip::RestrictIp;

use super::{Action, Error, Finding, Manifest, ObjectKey, Probe, Scenario, Step, Verdicts};

/// Reads one scenario file; `file` is its name in messages.
///
/// # Errors
///
/// The first thing in the file that the format does not know, with its line.
pub fn parse(file: &str, text: &str) -> Result<Scenario, Error> {
    read(text).map_err(|(line, message)| Error { file: file.into(), line, message }).map(|(title, steps)| Scenario {
        file: file.into(),
        title,
        steps,
    })
}

/// A line and what is wrong there.
type Wrong = (usize, String);

/// A fenced block: its info string, the line after the fence, and its lines.
struct Block<'a> {
    info: &'a str,
    line: usize,
    lines: Vec<&'a str>,
}

/// The info string of a config file of kube-restrict-ip, in a step that applies.
const CONFIG: &str = "config";

/// The verbs, each with the info string of its blocks.
const VERBS: [(&str, &str); 4] =
    [("apply", "yaml"), ("delete", "objects"), ("probe", "flows"), ("expect", "diagnostics")];

fn read(text: &str) -> Result<(String, Vec<Step>), Wrong> {
    let mut lines = text.lines().zip(1..);
    let title = match lines.next().and_then(|(line, _)| line.strip_prefix("# ")) {
        Some(title) => title.trim().to_string(),
        None => return Err((1, "a scenario begins with its title: '# What holds'".to_string())),
    };
    let mut headings: Vec<(usize, &str, Vec<Block<'_>>)> = Vec::new();
    while let Some((line, number)) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            headings.push((number, heading.trim(), Vec::new()));
        } else if line.starts_with("# ") {
            return Err((number, "a second title; steps are headings of the second level".to_string()));
        } else if let Some(info) = line.strip_prefix("```") {
            let block = read_block(info.trim(), number, &mut lines)?;
            match headings.last_mut() {
                Some((_, _, blocks)) => blocks.push(block),
                None => return Err((number, "a fenced block before the first step".to_string())),
            }
        } else if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            return Err((number, "a fence must begin its line, and be of backticks".to_string()));
        }
    }
    let steps = headings
        .into_iter()
        .zip(1..)
        .map(|((line, heading, blocks), number)| read_step(number, line, heading, &blocks))
        .collect::<Result<Vec<_>, _>>()?;
    if !steps.iter().any(|step| matches!(step.action, Action::Probe(_))) {
        return Err((1, "a scenario without a 'probe' step proves nothing".to_string()));
    }
    Ok((title, steps))
}

fn read_block<'a>(
    info: &'a str,
    fence: usize,
    lines: &mut impl Iterator<Item = (&'a str, usize)>,
) -> Result<Block<'a>, Wrong> {
    let mut block = Block { info, line: fence + 1, lines: Vec::new() };
    for (line, _) in lines {
        if line.trim_end() == "```" {
            return Ok(block);
        }
        block.lines.push(line);
    }
    Err((fence, "the fenced block is never closed".to_string()))
}

fn read_step(number: usize, line: usize, heading: &str, blocks: &[Block<'_>]) -> Result<Step, Wrong> {
    let rest = heading.strip_prefix(&format!("{number}. ")).ok_or_else(|| {
        (line, format!("expected step '## {number}. VERB', found '## {heading}'; steps count from 1 without gaps"))
    })?;
    let verb = rest.split_once(':').map_or(rest, |(verb, _)| verb).trim();
    let Some((_, info)) = VERBS.into_iter().find(|(known, _)| *known == verb) else {
        return Err((line, format!("unknown step '{verb}'; known are apply, delete, probe and expect")));
    };
    if blocks.is_empty() {
        return Err((line, format!("the step has no ```{info} block")));
    }
    let is_known = |block: &Block<'_>| block.info == info || (verb == "apply" && block.info == CONFIG);
    if let Some(block) = blocks.iter().find(|block| !is_known(block)) {
        let found = block.info;
        return Err((
            block.line - 1,
            format!("expected a ```{info} block in a step that is '{verb}', found ```{found}"),
        ));
    }
    let action = match verb {
        "apply" => Action::Apply(items(line, blocks, |block| {
            if block.info == CONFIG { Ok(vec![config(block)]) } else { documents(block) }
        })?),
        "delete" => Action::Delete(items(line, blocks, |block| {
            entries(block).map(|(text, line)| read_key(text, line).map(|key| (line, key))).collect()
        })?),
        "probe" => Action::Probe(items(line, blocks, |block| {
            entries(block).map(|(text, line)| read_probe(text, line)).collect()
        })?),
        _ => Action::Expect(items(line, blocks, |block| {
            entries(block).map(|(text, line)| read_finding(text, line)).collect()
        })?),
    };
    Ok(Step { number, line, action })
}

/// What all blocks of a step hold together; never nothing.
fn items<'a, T>(
    line: usize,
    blocks: &'a [Block<'a>],
    read: impl Fn(&'a Block<'a>) -> Result<Vec<T>, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let mut all = Vec::new();
    for block in blocks {
        all.extend(read(block)?);
    }
    if all.is_empty() { Err((line, "the step is empty".to_string())) } else { Ok(all) }
}

/// The lines of a block that are neither empty nor comments.
fn entries<'a>(block: &'a Block<'a>) -> impl Iterator<Item = (&'a str, usize)> {
    block
        .lines
        .iter()
        .zip(block.line..)
        .map(|(text, line)| (text.trim(), line))
        .filter(|(text, _)| !text.is_empty() && !text.starts_with('#'))
}

/// The part of an object that tells which one it is.
#[derive(Deserialize)]
struct Head {
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

fn documents(block: &Block<'_>) -> Result<Vec<Manifest>, Wrong> {
    let mut manifests = Vec::new();
    let mut line = block.line;
    for document in block.lines.split(|text| text.trim_end() == "---") {
        let first = line;
        line += document.len() + 1;
        if document.iter().all(|text| text.trim().is_empty() || text.trim_start().starts_with('#')) {
            continue;
        }
        let text = document.join("\n") + "\n";
        let head: Head = serde_saphyr::from_str(&text)
            .map_err(|error| (first, format!("the document has no readable kind and metadata.name: {error}")))?;
        if head.kind.ends_with("List") && head.kind != "BanList" {
            return Err((first, format!("a scenario applies objects one by one, not a {}", head.kind)));
        }
        let namespace = match head.kind.as_str() {
            kind if is_of_cluster(kind) => None,
            _ => Some(head.metadata.namespace.unwrap_or_else(|| "default".to_string())),
        };
        let key = ObjectKey { kind: head.kind, namespace, name: head.metadata.name };
        manifests.push(Manifest { line: first, key, text });
    }
    Ok(manifests)
}

/// Whether objects of the kind are in no namespace.
fn is_of_cluster(kind: &str) -> bool {
    matches!(kind, "Node" | "Namespace" | "HostPolicy" | "BanList" | "NodeAllowlist" | ObjectKey::CONFIG)
}

/// A config file; its `ipChain` tells which it is.
fn config(block: &Block<'_>) -> Manifest {
    let text = block.lines.join("\n") + "\n";
    let read = RestrictIp::parse(&SourceText { file: CONFIG.into(), text: text.clone() });
    let name = read.policy.name;
    let key = ObjectKey { kind: name.kind().to_string(), namespace: None, name: name.to_string() };
    Manifest { line: block.line, key, text }
}

fn read_key(text: &str, line: usize) -> Result<ObjectKey, Wrong> {
    let wrong = || (line, format!("expected 'Kind namespace/name' or 'Node NAME', found '{text}'"));
    let (kind, name) = text.split_once(' ').ok_or_else(wrong)?;
    let (namespace, name) = match name.trim().split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_string()), name),
        None => (None, name.trim()),
    };
    if namespace.is_none() != is_of_cluster(kind) || name.contains(['/', ' ']) {
        return Err(wrong());
    }
    Ok(ObjectKey { kind: kind.to_string(), namespace, name: name.to_string() })
}

fn read_probe(text: &str, line: usize) -> Result<Probe, Wrong> {
    let (body, reason) = match text.split_once(" #") {
        Some((body, reason)) => (body, Some(reason.trim().to_string())),
        None => (text, None),
    };
    if reason.as_deref() == Some("") {
        return Err((line, "a reason is empty".to_string()));
    }
    let (flow, verdict) = body
        .rsplit_once(": ")
        .ok_or_else(|| (line, format!("expected 'SRC -> DST PROTO [PORT]: allow|deny', found '{body}'")))?;
    let flow: Flow = flow.trim().parse().map_err(|error| (line, format!("{error}")))?;
    let (verdict, audit) = [Audit::WouldDeny, Audit::WouldAllow]
        .into_iter()
        .find_map(|audit| verdict.trim().strip_suffix(&format!(", {audit}")).map(|verdict| (verdict, Some(audit))))
        .unwrap_or((verdict, None));
    Ok(Probe { line, flow, verdicts: read_verdicts(verdict.trim(), line)?, audit, reason })
}

fn read_verdicts(text: &str, line: usize) -> Result<Verdicts, Wrong> {
    let one = |text: &str| {
        [Verdict::Allow, Verdict::Deny].into_iter().find(|verdict| verdict.name() == text.trim()).ok_or_else(|| {
            (line, format!("expected 'allow', 'deny' or '4 allow, 6 deny' as the verdict, found '{text}'"))
        })
    };
    match text.strip_prefix("4 ").and_then(|rest| rest.split_once(", 6 ")) {
        Some((v4, v6)) => Ok(Verdicts { v4: one(v4)?, v6: one(v6)? }),
        None => one(text).map(|verdict| Verdicts { v4: verdict, v6: verdict }),
    }
}

fn read_finding(text: &str, line: usize) -> Result<Finding, Wrong> {
    let levels = [Level::Note, Level::Warning, Level::Error];
    text.split_once(": ")
        .and_then(|(level, text)| {
            let level = levels.into_iter().find(|known| known.to_string() == level)?;
            Some(Finding { line, level, text: text.trim().to_string() })
        })
        .ok_or_else(|| (line, format!("expected 'error: TEXT', 'warning: TEXT' or 'note: TEXT', found '{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: &str = "# Title\n\nProse.\n\n## 1. apply: the stage\n\n```yaml\nkind: Pod\nmetadata: {namespace: web, name: front}\n---\nkind: Node\nmetadata: {name: n1}\n```\n";

    fn steps(rest: &str) -> Vec<Step> {
        parse("s.md", &format!("{STAGE}{rest}")).unwrap().steps
    }

    #[test]
    fn every_step_is_read_with_its_lines() {
        let steps = steps(
            "\n## 2. probe\n```flows\n# a comment\nweb/front -> fd99::1 tcp 80: allow  # web/open\n\nweb/front -> web/back icmp: 4 deny, 6 allow\nweb/front -> web/back tcp 1: allow, would deny # x\n```\n\n## 3. delete: it\n```objects\nPod web/front\nNode n1\n```\n## 4. expect\n```diagnostics\nerror: NetworkPolicy a/b: unknown field\n```\n",
        );
        let Action::Apply(manifests) = &steps[0].action else { panic!("{steps:?}") };
        assert_eq!(manifests.iter().map(|manifest| manifest.line).collect::<Vec<_>>(), [8, 11]);
        assert_eq!(manifests[0].key.to_string(), "Pod web/front");
        assert_eq!(manifests[1].key.to_string(), "Node n1");
        let Action::Probe(probes) = &steps[1].action else { panic!("{steps:?}") };
        assert_eq!(probes[0].flow.to_string(), "web/front -> fd99::1 tcp 80");
        assert_eq!((probes[0].line, probes[0].reason.as_deref()), (18, Some("web/open")));
        assert_eq!((probes[1].verdicts.to_string().as_str(), probes[1].audit), ("4 deny, 6 allow", None));
        assert_eq!((probes[2].verdicts.to_string().as_str(), probes[2].audit), ("allow", Some(Audit::WouldDeny)));
        let Action::Delete(keys) = &steps[2].action else { panic!("{steps:?}") };
        assert_eq!(
            keys.iter().map(|(line, key)| format!("{line} {key}")).collect::<Vec<_>>(),
            ["26 Pod web/front", "27 Node n1"]
        );
        let Action::Expect(findings) = &steps[3].action else { panic!("{steps:?}") };
        assert_eq!((findings[0].level, findings[0].text.as_str()), (Level::Error, "NetworkPolicy a/b: unknown field"));
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_line() {
        let check = |text: &str, expected: &str| {
            let error = parse("s.md", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}\n{error}");
        };
        check("Title\n", "s.md:1: a scenario begins with its title");
        check(STAGE, "s.md:1: a scenario without a 'probe' step");
        check("# T\n```yaml\n```\n", "s.md:2: a fenced block before the first step");
        check("# T\n## 1. apply\n```yaml\nkind: Pod\n", "s.md:3: the fenced block is never closed");
        check("# T\n## 1. apply\n  ```yaml\n", "s.md:3: a fence must begin its line");
        check("# T\n## 2. apply\n", "s.md:2: expected step '## 1. VERB'");
        check("# T\n## Notes\n", "s.md:2: expected step '## 1. VERB'");
        check("# T\n# U\n", "s.md:2: a second title");
        check("# T\n## 1. await\n", "s.md:2: unknown step 'await'");
        check("# T\n## 1. probe\n", "s.md:2: the step has no ```flows block");
        check("# T\n## 1. probe\n```yaml\n```\n", "s.md:3: expected a ```flows block");
        check("# T\n## 1. probe\n```flows\n\n```\n", "s.md:2: the step is empty");
        check("# T\n## 1. probe\n```flows\n\na/b -> c/d tcp 1\n```\n", "s.md:5: expected 'SRC -> DST");
        check("# T\n## 1. probe\n```flows\na/b -> c/d gre: deny\n```\n", "s.md:4: unknown protocol 'gre'");
        check("# T\n## 1. probe\n```flows\na/b -> c/d icmp: maybe\n```\n", "s.md:4: expected 'allow', 'deny'");
        check("# T\n## 1. probe\n```flows\na/b -> c/d icmp: deny, would\n```\n", "s.md:4: expected 'allow', 'deny'");
        check("# T\n## 1. delete\n```objects\nPod front\n```\n", "s.md:4: expected 'Kind namespace/name'");
        check("# T\n## 1. delete\n```objects\nNode a/n1\n```\n", "s.md:4: expected 'Kind namespace/name'");
        check("# T\n## 1. apply\n```yaml\nkind: Pod\n```\n", "s.md:4: the document has no readable kind");
        check("# T\n## 1. apply\n```yaml\nkind: PodList\nmetadata: {name: x}\n```\n", "s.md:4: a scenario applies");
        check("# T\n## 1. expect\n```diagnostics\nfatal: x\n```\n", "s.md:4: expected 'error: TEXT'");
    }
}
