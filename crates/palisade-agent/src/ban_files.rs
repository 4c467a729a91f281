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
use tokio::sync::mpsc;

use crate::config::name_of;
use crate::file_news;
use crate::files::{self, FileError};
use crate::message::Message;
use crate::report::Obstacle;
use crate::state::{Copied, StateDirectory};
use crate::watch::chain;

/// What is not heard is seen after so long.
const INTERVAL: Duration = Duration::from_mins(1);
/// The directory of lists within the state directory.
const OWN: &str = "ban-lists";

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanFiles {
    /// The lists, by name.
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
    files::replace(path, text.as_bytes())
}

/// Keeps others from changing lists that `palisade ban --local` writes, for as long as this lives; the directory is made if it is not there.
///
/// # Errors
///
/// If the directory cannot be used.
pub fn lock_own(state_dir: &Path) -> Result<fs::File, FileError> {
    let directory = own_directory(state_dir);
    fs::create_dir_all(&directory).map_err(FileError::of("make", &directory))?;
    let path = directory.join("lock");
    let file = fs::File::create(&path).map_err(FileError::of("make", &path))?;
    let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
    locked.map_err(|errno| FileError::of("lock", &path)(errno.into()))?;
    Ok(file)
}

/// Reads the lists of both directories and tells the engine whenever they are other than before, for as long as it listens.
pub fn follow(directory: &Path, state: &StateDirectory, engine: &mpsc::Sender<Message>) {
    let directories = [directory.to_owned(), own_directory(state.path())];
    let mut known = Known::new(state.clone());
    let look = || (known.look(&directories), INTERVAL);
    file_news::follow(&directories, "changes of ban lists", look, |_, found| {
        for problem in &found.problems {
            tracing::error!("{}; {}", problem.found, problem.means);
        }
        engine.blocking_send(Message::BanFiles(found.clone())).is_ok()
    });
}

/// What each file said when it could be read last.
#[derive(Debug)]
struct Known {
    files: BTreeMap<PathBuf, Vec<BanList>>,
    state: StateDirectory,
}

impl Known {
    fn new(state: StateDirectory) -> Known {
        Known { files: BTreeMap::new(), state }
    }

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
        let copies = self.files.keys().map(|path| name_of(path)).collect();
        if let Err(error) = self.state.forget_copies_but(Copied::BanFile, &copies) {
            tracing::warn!("{}", chain(&error));
        }
        BanFiles { lists: self.lists(&mut problems), problems }
    }

    /// The lists of all files. What `palisade ban --local` adds to a list of a manifest comes to that.
    fn lists(&self, problems: &mut Vec<Obstacle>) -> Vec<BanList> {
        let own = own_directory(self.state.path());
        let mut lists: BTreeMap<BanListName, BanList> = BTreeMap::new();
        let (added, manifests): (Vec<_>, Vec<_>) = self.files.iter().partition(|(path, _)| path.parent() == Some(&own));
        for (path, list) in manifests.into_iter().flat_map(|(path, lists)| lists.iter().map(move |list| (path, list))) {
            if !add(&mut lists, list) {
                let found = format!("{}: BanList {} is in another file, too", path.display(), list.name);
                problems.push(problem(found, "the entries of both are banned, and all else is that of the other"));
            }
        }
        for list in added.into_iter().flat_map(|(_, lists)| lists) {
            add(&mut lists, list);
        }
        lists.into_values().collect()
    }

    fn look_at(&mut self, path: PathBuf, problems: &mut Vec<Obstacle>) {
        let said = match fs::read_to_string(&path) {
            Ok(text) => {
                let said = Said::of(&path, text.clone());
                if !said.is_broken {
                    self.remember(&path, &text, said.lists);
                    problems.extend(said.problems);
                    return;
                }
                said
            }
            Err(error) => Said::nothing(format!("cannot read {}: {error}", path.display())),
        };
        let is_known = self.files.contains_key(&path) || self.recall(&path);
        problems.extend(said.problems.into_iter().map(|found| Obstacle {
            means: if is_known { "what it said last holds".to_string() } else { found.means },
            ..found
        }));
        if !is_known {
            self.files.insert(path, said.lists);
        }
    }

    /// Takes from its copy what a file said when it could be read last, if there is one.
    fn recall(&mut self, path: &Path) -> bool {
        let copy = self.state.copy(Copied::BanFile, &name_of(path));
        let Some(said) = copy.map(|text| Said::of(path, text)).filter(|said| !said.is_broken) else { return false };
        self.files.insert(path.to_owned(), said.lists);
        true
    }

    /// A file says this from here on, and the next agent is to know it.
    fn remember(&mut self, path: &Path, text: &str, lists: Vec<BanList>) {
        if self.files.get(path) == Some(&lists) {
            return;
        }
        if let Err(error) = self.state.set_copy(Copied::BanFile, &name_of(path), text) {
            tracing::warn!("the next agent will not know this file if it is broken by then: {}", chain(&error));
        }
        self.files.insert(path.to_owned(), lists);
    }
}

/// Adds a list to others, or its entries to that of its name; whether there was none.
fn add(lists: &mut BTreeMap<BanListName, BanList>, list: &BanList) -> bool {
    match lists.get_mut(&list.name) {
        Some(known) => known.entries.extend(list.entries.iter().cloned()),
        None => return lists.insert(list.name.clone(), list.clone()).is_none(),
    }
    false
}

/// What a file says.
struct Said {
    lists: Vec<BanList>,
    problems: Vec<Obstacle>,
    /// So much is wrong with it that what it said before is to hold: with the whole of it, or with all of a list but single entries.
    is_broken: bool,
}

impl Said {
    fn nothing(problem_found: String) -> Said {
        Said { lists: Vec::new(), problems: vec![problem(problem_found, "it bans nothing")], is_broken: true }
    }

    fn of(path: &Path, text: String) -> Said {
        let (lists, found) = palisade_sources::ban_lists(&SourceText { file: path.display().to_string().into(), text });
        let worst = found.iter().filter(|found| found.level == Level::Error);
        let means =
            |found: &Diagnostic| found.effect.clone().unwrap_or_else(|| "the rest of it is in force".to_string());
        let problems: Vec<Obstacle> = worst.map(|found| problem(found.placed_message(), &means(found))).collect();
        if lists.is_empty() && problems.is_empty() {
            return Said::nothing(format!("{}: there is no BanList in it", path.display()));
        }
        let bans_nothing =
            |list: &BanList| list.unreadable.is_some() && list.entries.is_empty() && list.source.is_none();
        let is_broken = lists.is_empty() || lists.iter().any(bans_nothing);
        Said { lists, problems, is_broken }
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
        let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directories = [directory.path().to_owned(), own_directory(state.path())];
        let known = || Known::new(StateDirectory::open(state.path()).unwrap());
        let mut first = known();
        let mut look = || first.look(&directories);
        assert_eq!(look(), BanFiles::default());
        let path = directory.path().join("a.yaml");
        fs::write(&path, list("a", "192.0.2.0/24")).unwrap();
        drop(lock_own(state.path()).unwrap());
        let own = |name: &str| own_list(state.path(), name);
        write_own(&own("manual"), &list("manual", "198.51.100.0/24")).unwrap();
        fs::write(directory.path().join("drop.txt"), "203.0.113.0/24").unwrap();
        assert_eq!(shown(&look()), ["a: 192.0.2.0/24", "manual: 198.51.100.0/24"]);
        let broken = list("a", "192.0.2.0/24").replace("entries", "entry");
        for broken in ["", "kind: BanList\nmetadata: {name: a}\nspec: [", "spec: {", &broken] {
            fs::write(&path, broken).unwrap();
            // The agent knows it, and so does the next one.
            for found in [look(), known().look(&directories)] {
                assert_eq!(shown(&found)[0], "a: 192.0.2.0/24", "{broken}: {found:?}");
                assert_eq!(found.problems[0].means, "what it said last holds", "{broken}");
                assert!(found.problems[0].found.contains("a.yaml:"), "{found:?}");
            }
        }
        fs::write(&path, list("a", "192.0.2.0/25")).unwrap();
        // What is banned besides comes to the list of the manifest; a second manifest of that name is told.
        write_own(&own("a"), &list("a", "203.0.113.0/24")).unwrap();
        fs::remove_file(own("manual")).unwrap();
        let found = look();
        assert_eq!(shown(&found), ["a: 192.0.2.0/25 203.0.113.0/24"]);
        assert_eq!(found.problems, []);
        fs::write(directory.path().join("b.yaml"), list("a", "10.0.0.0/24")).unwrap();
        assert!(look().problems[0].found.ends_with("b.yaml: BanList a is in another file, too"), "{:?}", look());
        for path in [path, directory.path().join("b.yaml"), own("a")] {
            fs::remove_file(path).unwrap();
        }
        assert_eq!(look(), BanFiles::default());
        assert_eq!(known().look(&directories), BanFiles::default());
    }
}
