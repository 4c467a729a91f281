//! What is said of dialects beside verdicts.

use palisade_core::Dialect;
use palisade_core::dialect::BLOCKS_HOLD_NO_PODS;

use crate::output::{Hinted, note};

/// Says on stderr which rules of a dialect verdicts do not follow.
pub fn tell_what_is_not_judged(dialect: Dialect) {
    for deviation in dialect.deviations().iter().filter(|deviation| !deviation.is_judged) {
        note(&format!("note: {dialect} has a rule that is not judged here, {deviation}"));
    }
}

/// Says on stderr by which rule exact sets of two dialects differ, if they may.
pub fn tell_what_differs(one: Dialect, other: Dialect) {
    let id = BLOCKS_HOLD_NO_PODS.id;
    match (one.rule(id), other.rule(id)) {
        (Some(rule), None) => note(&format!("note: differences are by a rule of {one}, {rule}")),
        (None, Some(rule)) => note(&format!("note: differences are by a rule of {other}, {rule}")),
        _ => {}
    }
    if [one, other].contains(&Dialect::NpGuard) {
        note("note: np-guard judges IPv4 alone, takes hostNetwork pods for pods as others, and a workload for one end");
    }
    tell_what_is_not_judged(one);
    tell_what_is_not_judged(other);
}

/// An error for the bare text of the API: exact sets have no word for what it leaves open.
pub fn refuse_undefined(dialects: &[Dialect]) -> Result<(), Hinted> {
    if dialects.contains(&Dialect::Kubernetes) {
        return Err(Hinted {
            message: "kubernetes leaves flows open, and exact sets know no such thing".to_string(),
            hint: "palisade diff -f PATH --dialect cilium --dialect palisade shows them all; 'palisade explain' has single ones"
                .to_string(),
        });
    }
    Ok(())
}

/// An error for np-guard's, which has no verdicts on single flows.
pub fn refuse_without_flows(dialect: Dialect) -> Result<(), Hinted> {
    if dialect == Dialect::NpGuard {
        return Err(Hinted {
            message: "np-guard judges workloads, and no single flow".to_string(),
            hint: "palisade matrix --dialect np-guard shows what it says".to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use palisade_core::Dialect;

    /// The page is for people, so that no program writes it.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test reads the page of the project")]
    fn the_page_has_every_rule() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dialects.md")).unwrap();
        let mut rows: Vec<String> = Vec::new();
        for (dialect, name) in Dialect::NAMES {
            for rule in dialect.deviations() {
                let judged = if rule.is_judged { "judged" } else { "told" };
                rows.push(format!("| `{name}` | {} | {} | {judged} | {} |", rule.id, rule.says, rule.source));
            }
        }
        let shown: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(shown, rows, "the rows should be:\n{}", rows.join("\n"));
    }
}
