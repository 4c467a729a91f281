//! The image of Palisade itself: one static program.

use std::path::Path;

use anyhow::Context as _;

use super::Image;
use crate::bed::Bed;
use crate::bed::program::program;

/// The name under which it is loaded; it is in no registry.
pub const PALISADE: &str = "localhost/palisade:dev";

/// Builds the program with the profile of Cargo that is named, and writes its image.
///
/// # Errors
///
/// The build fails or the image cannot be written.
pub fn write(out: &Path, profile: &str) -> anyhow::Result<()> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    // Naming the target keeps these artefacts apart from those of other builds, which are not static. What a debugger
    // wants is left out: it is many times the program.
    let status = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--package", "palisade-cli", "--bin", "palisade"])
        .args(["--target", &target, "--target-dir", "target", "--profile", profile])
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    anyhow::ensure!(status.success(), "building palisade failed ({status})");
    let directory = if profile == "dev" { "debug" } else { profile };
    let built = root.join("target").join(target).join(directory).join("palisade");
    let files = [("/palisade", built)];
    Image { name: PALISADE, entrypoint: &["/palisade"], arguments: &[], files: &files }.write(out)
}

/// Installs Palisade on a bed as its users do, with this image, and waits until its agents are ready.
///
/// # Errors
///
/// The image cannot be loaded, or the agents do not become ready.
pub fn install(bed: &Bed, image: &Path) -> anyhow::Result<()> {
    bed.load(image)?;
    bed.kubectl(&["apply", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/overlays/bed")])?;
    let rollout = ["rollout", "status", "daemonset/palisade-agent", "--timeout=120s"];
    bed.kubectl(&[&["--namespace", "palisade-system"], &rollout[..]].concat())?;
    Ok(())
}
