//! What `deploy/` holds is what the program is: the definition of the kind, and each overlay as one plain file.
#![expect(clippy::disallowed_methods, reason = "reads the project's own files and runs kubectl")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_agent::node_state::NodeState;
use palisade_agent::{ban_list_definition, host_policy_definition};

/// Each plain file, and the directory it is made of.
const PLAIN: [(&str, &str); 5] = [
    ("deploy/plain/palisade.yaml", "deploy"),
    ("deploy/plain/no-boot-restore.yaml", "deploy/overlays/no-boot-restore"),
    ("deploy/plain/host-only.yaml", "deploy/overlays/host-only"),
    ("deploy/plain/kube-restrict-ip.yaml", "deploy/overlays/kube-restrict-ip"),
    ("deploy/plain/bed.yaml", "deploy/overlays/bed"),
];

#[test]
fn the_definitions_are_those_of_the_types() {
    for (path, definition) in [
        ("deploy/base/nodestates.yaml", NodeState::definition().unwrap()),
        ("deploy/base/banlists.yaml", ban_list_definition().unwrap()),
        ("deploy/base/hostpolicies.yaml", host_policy_definition().unwrap()),
    ] {
        let text = serde_saphyr::to_string(&serde_json::to_value(definition).unwrap()).unwrap();
        check(path, &format!("# Written by UPDATE_GOLDENS=1 cargo test -p palisade-agent.\n{text}"));
    }
}

#[test]
fn every_overlay_is_a_plain_file_too() {
    let overlays = fs::read_dir(root().join("deploy/overlays")).unwrap();
    let overlays =
        overlays.map(|entry| format!("deploy/overlays/{}", entry.unwrap().file_name().into_string().unwrap()));
    for overlay in overlays {
        assert!(PLAIN.iter().any(|(_, made_of)| *made_of == overlay), "{overlay} is missing in this test");
    }
    let Some(kubectl) = kubectl() else {
        println!(
            "SKIPPED: there is no kubectl to render the overlays with, neither in PATH nor in the cache of the bed"
        );
        return;
    };
    for (plain, overlay) in PLAIN {
        let rendered = Command::new(&kubectl).arg("kustomize").arg(root().join(overlay)).output().unwrap();
        assert!(rendered.status.success(), "{overlay}: {}", String::from_utf8_lossy(&rendered.stderr));
        let text = String::from_utf8(rendered.stdout).unwrap();
        check(plain, &format!("# kubectl kustomize {overlay}\n{text}"));
    }
}

/// The agent has the rights that it uses and no other; the cluster tests take each away and see what breaks.
#[test]
fn the_plain_files_hold_what_is_installed() {
    for (plain, _) in PLAIN {
        let text = fs::read_to_string(root().join(plain)).unwrap();
        let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
        let mut expected = [
            "Namespace",
            "CustomResourceDefinition",
            "CustomResourceDefinition",
            "CustomResourceDefinition",
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "Lease",
            "Role",
            "RoleBinding",
            "DaemonSet",
        ];
        let mut found = kinds.clone();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{plain}");
    }
}

/// Holds a file of the project against what it should be; with `UPDATE_GOLDENS` in the environment it becomes that.
fn check(path: &str, expected: &str) {
    let file = root().join(path);
    if env::var_os("UPDATE_GOLDENS").is_some() {
        fs::write(&file, expected).unwrap();
        return;
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is not what the sources say; UPDATE_GOLDENS=1 writes it anew");
}

/// A kubectl: that of the bed, or any.
fn kubectl() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?.join("palisade/bed");
    let built = fs::read_dir(cache).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let paths = env::var_os("PATH").unwrap_or_default();
    let known = built.chain(env::split_paths(&paths)).map(|directory| directory.join("kubectl"));
    known.into_iter().find(|path| path.is_file())
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
