//! The states of the cluster that a scenario leads through.

use palisade_core::{Diagnostic, Level, Snapshot};
use palisade_sources::SourceText;

use super::{Action, Error, Finding, Manifest, ObjectKey, Probe, Scenario, Step};

/// The cluster after a step.
#[derive(Clone, Debug)]
pub struct Moment<'a> {
    /// The step.
    pub step: &'a Step,
    /// The cluster, read by `palisade-sources`.
    pub snapshot: Snapshot,
    /// What `palisade-sources` found in it.
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Moment<'a> {
    /// The flows to send now; empty unless the step is a `probe`.
    pub fn probes(&self) -> &'a [Probe] {
        match &self.step.action {
            Action::Probe(probes) => probes,
            _ => &[],
        }
    }
}

impl Scenario {
    /// The cluster after each step, in order.
    ///
    /// # Errors
    ///
    /// Where a step deletes what is not there, where findings differ from those that an `expect` step states,
    /// and where a `probe` rests on input that has errors which no `expect` step states.
    pub fn moments(&self) -> Result<Vec<Moment<'_>>, Error> {
        let mut objects: Vec<&Manifest> = Vec::new();
        let mut stated = false;
        let mut moments: Vec<Moment<'_>> = Vec::new();
        for step in &self.steps {
            match &step.action {
                Action::Apply(manifests) => {
                    for manifest in manifests {
                        objects.retain(|object| object.key != manifest.key);
                        objects.push(manifest);
                    }
                }
                Action::Delete(keys) => self.delete(&mut objects, keys)?,
                Action::Probe(_) | Action::Expect(_) => {}
            }
            let changed = matches!(step.action, Action::Apply(_) | Action::Delete(_));
            let moment = match moments.last() {
                Some(last) if !changed => Moment { step, ..last.clone() },
                _ => self.read(step, &objects),
            };
            match &step.action {
                Action::Expect(findings) => {
                    self.compare(step, findings, &moment.diagnostics)?;
                    stated = true;
                }
                Action::Probe(_) if !stated => self.compare(step, &[], &moment.diagnostics)?,
                Action::Probe(_) => {}
                Action::Apply(_) | Action::Delete(_) => stated = false,
            }
            moments.push(moment);
        }
        Ok(moments)
    }

    fn read<'a>(&self, step: &'a Step, objects: &[&Manifest]) -> Moment<'a> {
        let (configs, objects): (Vec<&Manifest>, Vec<&Manifest>) =
            objects.iter().partition(|object| object.key.is_config());
        let texts =
            |of: &[&Manifest]| -> Vec<SourceText> { of.iter().map(|object| self.source_text(object)).collect() };
        let mut parsed = palisade_sources::parse(&texts(&objects), &palisade_sources::Options::default());
        palisade_sources::restrict_ip::add(&mut parsed, &texts(&configs));
        Moment { step, snapshot: parsed.snapshot, diagnostics: parsed.diagnostics }
    }

    /// The document, moved down by empty lines so that diagnostics name its place in the scenario.
    fn source_text(&self, object: &Manifest) -> SourceText {
        let text = format!("{}{}", "\n".repeat(object.line - 1), object.text);
        SourceText { file: self.file.clone().into(), text }
    }

    fn delete(&self, objects: &mut Vec<&Manifest>, keys: &[(usize, ObjectKey)]) -> Result<(), Error> {
        for (line, key) in keys {
            let count = objects.len();
            // As the API does, a namespace takes along what is in it.
            let emptied = (key.kind == "Namespace").then_some(&key.name);
            objects
                .retain(|object| object.key != *key && (emptied.is_none() || object.key.namespace.as_ref() != emptied));
            if objects.len() == count {
                return Err(self.error(*line, format!("{key} is not there to be deleted")));
            }
        }
        Ok(())
    }

    fn compare(&self, step: &Step, findings: &[Finding], diagnostics: &[Diagnostic]) -> Result<(), Error> {
        let meant = |finding: &Finding, found: &Diagnostic| {
            finding.level == found.level && described(found).contains(&finding.text)
        };
        for finding in findings {
            if !diagnostics.iter().any(|found| meant(finding, found)) {
                let message = format!("expected the {} '{}', found {}", finding.level, finding.text, list(diagnostics));
                return Err(self.error(finding.line, message));
            }
        }
        let unstated = |found: &&Diagnostic| {
            found.level >= Level::Warning && !findings.iter().any(|finding| meant(finding, found))
        };
        match diagnostics.iter().find(unstated) {
            Some(found) => Err(self.error(step.line, format!("the input has a finding that no step expects: {found}"))),
            None => Ok(()),
        }
    }

    fn error(&self, line: usize, message: String) -> Error {
        Error { file: self.file.clone(), line, message }
    }
}

/// The object and the message of a diagnostic, without its place.
fn described(diagnostic: &Diagnostic) -> String {
    format!("{}: {}", diagnostic.object.as_deref().unwrap_or_default(), diagnostic.message)
}

fn list(diagnostics: &[Diagnostic]) -> String {
    if diagnostics.is_empty() {
        return "nothing".to_string();
    }
    diagnostics.iter().map(|found| format!("'{found}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    const STAGE: &str = "# T\n## 1. apply\n```yaml\napiVersion: v1\nkind: Pod\nmetadata: {namespace: web, name: a}\nspec: {nodeName: n1}\n---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: db, name: b}\nspec: {nodeName: n1}\n```\n";
    const BAD: &str = "```yaml\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: web, name: p}\nspec: {podSelectr: {}}\n```\n";
    const PROBE: &str = "```flows\nweb/a -> db/b tcp 80: allow\n```\n";

    /// The pods after each step, or what is wrong.
    fn check(rest: &str, expected: &str) {
        let text = format!("{STAGE}{rest}");
        let scenario = parse("s.md", &text).unwrap();
        let found = match scenario.moments() {
            Ok(moments) => {
                let pods = moments
                    .iter()
                    .map(|moment| moment.snapshot.pods.keys().map(ToString::to_string).collect::<Vec<_>>().join(" "));
                pods.collect::<Vec<_>>().join(", ")
            }
            Err(error) => error.to_string(),
        };
        assert!(found.starts_with(expected), "{text}\n{found}");
    }

    #[test]
    fn objects_come_and_go() {
        check(&format!("## 2. probe\n{PROBE}"), "db/b web/a, db/b web/a");
        let delete = format!("## 2. delete\n```objects\nPod web/a\n```\n## 3. probe\n{PROBE}");
        check(&delete, "db/b web/a, db/b, db/b");
        let delete = format!("## 2. delete\n```objects\nPod web/c\n```\n## 3. probe\n{PROBE}");
        check(&delete, "s.md:16: Pod web/c is not there");
    }

    #[test]
    fn a_namespace_takes_along_what_is_in_it() {
        let namespace = "```yaml\napiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n```\n";
        let delete = "```objects\nNamespace web\n```\n";
        check(
            &format!("## 2. apply\n{namespace}## 3. delete\n{delete}## 4. probe\n{PROBE}"),
            "db/b web/a, db/b web/a, db/b, db/b",
        );
    }

    #[test]
    fn findings_are_expected_or_an_error() {
        check(
            &format!("## 2. apply\n{BAD}## 3. probe\n{PROBE}"),
            "s.md:21: the input has a finding that no step expects",
        );
        let expect =
            |text: &str| format!("## 2. apply\n{BAD}## 3. expect\n```diagnostics\n{text}\n```\n## 4. probe\n{PROBE}");
        check(&expect("error: NetworkPolicy web/p: spec: unknown field 'podSelectr'"), "db/b web/a, db/b web/a");
        check(&expect("warning: unknown field 'podSelectr'"), "s.md:23: expected the warning");
        check(
            &expect("error: unknown field 'egrss'"),
            "s.md:23: expected the error 'unknown field 'egrss'', found 's.md:19:8",
        );
    }
}
