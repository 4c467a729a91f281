//! The images that pods of the bed may be made of. There is no registry: what is not loaded does not exist.

use std::path::PathBuf;

use super::binaries::Binaries;
use super::files;
use crate::image::Image;

/// The first container of every pod, under the name that the test suite of Kubernetes 1.36 has for it too.
pub const PAUSE: &str = "registry.k8s.io/pause:3.10.2";
/// Server and client of many kinds, under the name that the test suite of Kubernetes 1.36 has for it.
pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";

/// The images that every node has, as files; made if they are missing.
pub(super) fn basic(binaries: &Binaries) -> anyhow::Result<Vec<PathBuf>> {
    let made = [("pause", PAUSE, &["/pause"][..]), ("agnhost", AGNHOST, &["/agnhost", "pause"])].map(
        |(program, name, command)| {
            let file = binaries.program(&format!("{program}.tar"));
            if !file.exists() {
                let content = [(command[0], binaries.program(program))];
                let unfinished = binaries.program(&format!("unfinished-{program}.tar"));
                Image { name, entrypoint: &command[..1], arguments: &command[1..], files: &content }
                    .write(&unfinished)?;
                files::publish(&unfinished, &file)?;
            }
            Ok(file)
        },
    );
    made.into_iter().collect()
}
