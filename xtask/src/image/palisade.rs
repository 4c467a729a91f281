//! The image of Palisade itself: one static program.

use std::path::{Path, PathBuf};
use std::process::Command;

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
    // Naming the target keeps these artefacts apart from those of other builds, which are not static. What a debugger
    // wants is left out: it is many times the program.
    let mut build = cargo_build();
    build.args(["--target", &target, "--profile", profile]);
    run(build.env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols"))?;
    let directory = if profile == "dev" { "debug" } else { profile };
    let built = targets().join(target).join(directory).join("palisade");
    let files = [("/palisade", built)];
    Image { name: PALISADE, entrypoint: &["/palisade"], arguments: &[], files: &files }.write(out)
}

/// Builds the program for this machine alone, as a plain `cargo build` does, and gives its file.
///
/// # Errors
///
/// The build fails.
pub fn build() -> anyhow::Result<PathBuf> {
    run(cargo_build().arg("--quiet"))?;
    Ok(targets().join("debug/palisade"))
}

fn cargo_build() -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--package", "palisade-cli", "--bin", "palisade", "--target-dir"]).arg(targets());
    // What Cargo tells a test of its crate would have build scripts run anew, and all be built that depends on them.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_a_crate(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command
}

fn is_of_a_crate(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

/// Where Cargo puts what it builds.
fn targets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).join("target")
}

fn run(build: &mut Command) -> anyhow::Result<()> {
    let status = build.status().context("cannot run cargo")?;
    anyhow::ensure!(status.success(), "building palisade failed ({status})");
    Ok(())
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
