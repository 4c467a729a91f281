//! Ban lists of an agent without an API server: manifests in a directory, and those that `palisade ban --local` writes into the state
//! directory. They are followed as they change.
#![expect(clippy::disallowed_methods, reason = "this file reads and writes ban lists that are files")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::{BanList, BanListName, Diagnostic, Level};
use palisade_sources::SourceText;
use palisade_watch::Watch;
use tokio::sync::mpsc;

use crate::files::FileError;
use crate::message::Message;
use crate::report::Obstacle;

/// What is not heard is seen after so long.
const INTERVAL: Duration = Duration::from_mins(1);
/// The directory of lists within the state directory.
const OWN: &str = "ban-lists";

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanFiles {
    /// The lists, by name; of two of one name the one that is read last counts.
    pub lists: Vec<BanList>,
    /// What is wrong with files.
    pub problems: Vec<Obstacle>,
}

/// Where `palisade ban --local` writes a list.
pub fn own_list(state_dir: &Path, name: &str) -> PathBuf {
    own_directory(state_dir).join(format!("{name}.json"))
}

fn own_directory(state_dir: &Path) -> PathBuf {
    state_dir.join(OWN)
}

/// The text of a list that `palisade ban --local` wrote; `None` if there is none.
///
/// # Errors
///
/// If the file cannot be read.
pub fn read_own(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of("read", path)(error)),
    }
}

/// Writes a list in the place of the one before.
///
/// # Errors
///
/// If it cannot be written; the one before stays.
pub fn write_own(path: &Path, text: &str) -> Result<(), FileError> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(FileError::of("make", directory))?;
    }
    let new = path.with_extension("new");
    fs::write(&new, text).map_err(FileError::of("write", &new))?;
    fs::rename(&new, path).map_err(FileError::of("replace", path))
}

/// Reads the lists of both directories and tells the engine whenever they are other than before, for as long as it listens.
pub fn follow(directory: &Path, state_dir: &Path, engine: &mpsc::Sender<Message>) {
    let directories = [directory.to_owned(), own_directory(state_dir)];
    let mut watch = heard(Watch::new(&directories));
    let mut known = Known::default();
    let mut told = None;
    loop {
        let found = known.look(&directories);
        if told.as_ref() != Some(&found) {
            for problem in &found.problems {
                tracing::error!("{}; {}", problem.found, problem.means);
            }
            if engine.blocking_send(Message::BanFiles(found.clone())).is_err() {
                return;
            }
            told = Some(found);
        }
        watch = if let Some(mut watch) = watch {
            heard(watch.wait_at_most(INTERVAL)).map(|()| watch)
        } else {
            std::thread::sleep(INTERVAL);
            heard(Watch::new(&directories))
        };
    }
}

/// What came of listening for changes. Without it the files are looked at all the same.
fn heard<T>(result: io::Result<T>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!("changes of ban lists are seen late: {error}")).ok()
}

/// What each file said when it could be read last.
#[derive(Debug, Default)]
struct Known {
    files: BTreeMap<PathBuf, Vec<BanList>>,
}

impl Known {
    /// A file that cannot be read goes on to say what it said, as all of a directory do that cannot be read. One that is gone says nothing.
    fn look(&mut self, directories: &[PathBuf]) -> BanFiles {
        let mut problems = Vec::new();
        for directory in directories {
            let paths = match manifests(directory) {
                Ok(paths) => paths,
                Err(error) => {
                    let found = format!("cannot read {}: {error}", directory.display());
                    problems.push(problem(found, "the ban lists in it hold as they were"));
                    continue;
                }
            };
            self.files.retain(|path, _| path.parent() != Some(directory) || paths.contains(path));
            for path in paths {
                self.look_at(path, &mut problems);
            }
        }
        let lists: BTreeMap<BanListName, BanList> =
            self.files.values().flatten().map(|list| (list.name.clone(), list.clone())).collect();
        BanFiles { lists: lists.into_values().collect(), problems }
    }

    fn look_at(&mut self, path: PathBuf, problems: &mut Vec<Obstacle>) {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let found = format!("cannot read {}: {error}", path.display());
                problems.push(problem(found, "what it said last holds"));
                return;
            }
        };
        let source = SourceText { file: path.display().to_string().into(), text };
        let (lists, found) = palisade_sources::ban_lists(&source);
        let worst = found.iter().filter(|found| found.level == Level::Error);
        let is_broken = lists.iter().any(|list| list.unreadable.is_some() && list.entries.is_empty());
        let is_kept =
            (is_broken || lists.is_empty()) && worst.clone().next().is_some() && self.files.contains_key(&path);
        let means = |found: &Diagnostic| match (&found.effect, is_kept) {
            (_, true) => "what it said last holds".to_string(),
            (Some(effect), false) => effect.clone(),
            (None, false) => "the rest of it is in force".to_string(),
        };
        problems.extend(worst.map(|found| problem(line(found), &means(found))));
        if !is_kept {
            self.files.insert(path, lists);
        }
    }
}

/// The manifests of a directory; there are none where it is not there.
fn manifests(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_manifest = path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
        if is_manifest && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn problem(found: String, means: &str) -> Obstacle {
    Obstacle { name: "ban-file".to_string(), found, means: means.to_string(), hint: None }
}

/// `/etc/palisade/bans/abuse.yaml:7:3: spec.entries[0].cidr: expected …`
fn line(found: &Diagnostic) -> String {
    match &found.place {
        Some(place) => format!("{}:{}:{}: {}", place.file, place.line, place.column, found.message),
        None => found.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, cidr: &str) -> String {
        format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: BanList\nmetadata: {{name: {name}}}\nspec: {{entries: [{{cidr: {cidr}}}]}}\n"
        )
    }

    fn shown(files: &BanFiles) -> Vec<String> {
        let entries = |list: &BanList| list.entries.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        files.lists.iter().map(|list| format!("{}: {}", list.name, entries(list))).collect()
    }

    #[test]
    fn lists_come_and_go_with_their_files_and_hold_while_they_are_broken() {
        let directory = tempfile::tempdir().unwrap();
        let directories = [directory.path().to_owned(), directory.path().join("own")];
        let mut known = Known::default();
        let mut look = || known.look(&directories);
        assert_eq!(look(), BanFiles::default());
        let path = directory.path().join("a.yaml");
        fs::write(&path, list("a", "192.0.2.0/24")).unwrap();
        write_own(&directories[1].join("manual.json"), &list("manual", "198.51.100.0/24")).unwrap();
        fs::write(directory.path().join("drop.txt"), "203.0.113.0/24").unwrap();
        assert_eq!(shown(&look()), ["a: 192.0.2.0/24", "manual: 198.51.100.0/24"]);
        for broken in [
            "kind: BanList\nmetadata: {name: a}\nspec: [",
            "spec: {",
            &list("a", "192.0.2.0/24").replace("entries", "entry"),
        ] {
            fs::write(&path, broken).unwrap();
            let found = look();
            assert_eq!(shown(&found)[0], "a: 192.0.2.0/24", "{broken}: {found:?}");
            assert_eq!(found.problems[0].means, "what it said last holds", "{broken}");
            assert!(found.problems[0].found.contains("a.yaml:"), "{found:?}");
        }
        fs::write(&path, list("a", "192.0.2.0/33")).unwrap();
        fs::remove_file(directories[1].join("manual.json")).unwrap();
        let found = look();
        assert_eq!(shown(&found), ["a: 192.0.2.0/24"], "{found:?}");
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), BanFiles::default());
    }
}
