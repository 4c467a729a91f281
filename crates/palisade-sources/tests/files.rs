//! What paths mean: files, directories, and what cannot be read.
#![expect(clippy::disallowed_methods, reason = "a test that writes the files it reads")]
#![allow(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail, and need not be fast")]

use std::fs;
use std::path::Path;

use palisade_sources::{SourceText, read};

fn files(root: &Path, paths: &[&str]) -> Vec<String> {
    let paths: Vec<_> = paths.iter().map(|path| root.join(path)).collect();
    let prefix = format!("{}/", root.display());
    let name = |source: &SourceText| source.file.name().unwrap().strip_prefix(&prefix).unwrap().to_string();
    read(&paths).unwrap().iter().map(name).collect()
}

#[test]
fn directories_are_read_as_users_expect() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for directory in ["d/sub", "d/.hidden", "empty"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["d/b.yaml", "d/a.yml", "d/sub/c.json", "d/readme.md", "d/.x.yaml", "d/.hidden/y.yaml", "other.txt"] {
        fs::write(root.join(file), file).unwrap();
    }
    std::os::unix::fs::symlink("b.yaml", root.join("d/z.yaml")).unwrap();
    std::os::unix::fs::symlink("..", root.join("d/loop")).unwrap();
    assert_eq!(files(root, &["d"]), ["d/a.yml", "d/b.yaml", "d/sub/c.json", "d/z.yaml"]);
    assert_eq!(files(root, &["other.txt", "d/sub"]), ["other.txt", "d/sub/c.json"]);
    assert_eq!(files(root, &["d/loop/other.txt"]), ["d/loop/other.txt"]);
    assert_eq!(read(&[root.join("d/b.yaml")]).unwrap()[0].text, "d/b.yaml");
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::create_dir_all(root.join("broken")).unwrap();
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::write(root.join("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("broken/a.yaml")).unwrap();
    let check = |path: &str, named: &str, why: &str| {
        let error = read(&[root.join(path)]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}", root.join(named).display()));
        assert!(error.source.to_string().contains(why), "{path}: {}", error.source);
    };
    check("missing.yaml", "missing.yaml", "No such file");
    check("broken", "broken/a.yaml", "No such file");
    check("empty", "empty", "no .yaml, .yml or .json file");
    check("binary.yaml", "binary.yaml", "invalid utf-8");
}
