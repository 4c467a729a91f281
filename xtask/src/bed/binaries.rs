//! The programs of the bed, built with the ordinary Go client from the modules in `testbed/`, and kept outside the
//! checkout.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::machine::found;
use super::program::{program, run};
use super::{Say, files};

/// A Go module of `testbed/`, and what is built from it.
struct Module {
    directory: &'static str,
    /// The program's name and its package.
    programs: &'static [(&'static str, &'static str)],
    tags: &'static str,
}

const MODULES: [Module; 2] = [
    Module {
        directory: "kubernetes",
        programs: &[
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("agnhost", "k8s.io/kubernetes/test/images/agnhost"),
            ("pause", "./pause"),
        ],
        tags: "",
    },
    Module {
        directory: "containerd",
        programs: &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
        tags: "no_btrfs,no_zfs,no_devmapper",
    },
];

/// The upstream test suite: its name among the binaries, and its package.
const SUITE: (&str, &str) = ("e2e.test", "k8s.io/kubernetes/test/e2e");

/// How many packages Go builds between two lines of progress.
const PACKAGES_A_LINE: usize = 250;

/// Where the programs of the bed are, all of them built.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// The programs, if they have been built.
    ///
    /// # Errors
    ///
    /// The Go modules cannot be read.
    pub fn found() -> anyhow::Result<Option<Binaries>> {
        let binaries = Binaries { directory: cache()? };
        let is_whole = MODULES.iter().all(|module| binaries.missing(module).is_empty());
        Ok(is_whole.then_some(binaries))
    }

    /// For the upstream test suite alone: whether the others are built does not matter.
    ///
    /// # Errors
    ///
    /// The Go modules cannot be read.
    pub fn unbuilt() -> anyhow::Result<Binaries> {
        Ok(Binaries { directory: cache()? })
    }

    /// The programs; those that are missing are built, which takes minutes.
    ///
    /// # Errors
    ///
    /// Go is not installed or a build fails.
    pub fn built(say: Say<'_>) -> anyhow::Result<Binaries> {
        let binaries = Binaries { directory: cache()? };
        let _lock = binaries.lock()?;
        for module in &MODULES {
            binaries.build(module, say)?;
        }
        Ok(binaries)
    }

    /// A program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The upstream test suite; built if it is missing.
    ///
    /// # Errors
    ///
    /// As [`Binaries::built`].
    pub fn suite(&self, say: Say<'_>) -> anyhow::Result<PathBuf> {
        let (name, package) = SUITE;
        let file = self.program(name);
        let _lock = self.lock()?;
        if !file.exists() {
            say(&format!("building the test suite of Kubernetes {}, some minutes", version("k8s.io/kubernetes")?));
            let unfinished = self.program("unfinished-suite");
            let mut go = go("test", &MODULES[0])?;
            run(go.arg("-c").arg("-o").arg(unfinished.join(name)).arg(package))?;
            files::publish(&unfinished.join(name), &file)?;
            files::remove_directory(&unfinished)?;
        }
        Ok(file)
    }

    /// One build at a time: the second finds what the first has built.
    fn lock(&self) -> anyhow::Result<File> {
        files::make_directory(&self.directory)?;
        let file = files::create(&self.program("lock"))?;
        file.lock().context("cannot lock the programs of the bed")?;
        Ok(file)
    }

    fn missing(&self, module: &Module) -> Vec<(&'static str, &'static str)> {
        module.programs.iter().copied().filter(|(name, _)| !self.program(name).exists()).collect()
    }

    /// One call of Go, so that it compiles and links as much at once as the machine can.
    fn build(&self, module: &Module, say: Say<'_>) -> anyhow::Result<()> {
        let missing = self.missing(module);
        if missing.is_empty() {
            return Ok(());
        }
        say(&format!(
            "building {} from testbed/{}, minutes if it is the first time",
            names(&missing),
            module.directory
        ));
        let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        // Next to its place, so that a name appears there with a whole program only.
        let unfinished = self.program(&format!("unfinished-{}", module.directory));
        files::make_directory(&unfinished)?;
        let mut go = go("build", module)?;
        go.arg("-v").arg("-o").arg(&unfinished).args(&packages);
        run_with_progress(&mut go, module, say)?;
        for (name, package) in missing {
            files::publish(&unfinished.join(file_name(package)), &self.program(name))?;
        }
        files::remove_directory(&unfinished)
    }
}

/// The version that `testbed/kubernetes/go.mod` asks for, as `v1.36.3`.
///
/// # Errors
///
/// The module cannot be read or does not name it.
pub fn version(module: &str) -> anyhow::Result<String> {
    let manifest = files::read(&source("kubernetes").join("go.mod"))?;
    let found =
        manifest.lines().find_map(|line| line.strip_prefix("require ")?.strip_prefix(module)?.strip_prefix(' '));
    Ok(found.with_context(|| format!("testbed/kubernetes/go.mod requires no {module}"))?.to_string())
}

/// The directory of a Go module in the checkout.
fn source(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed").join(module)
}

/// The place of the programs: it changes with whatever they are built from.
fn cache() -> anyhow::Result<PathBuf> {
    let mut hash = Sha256::new();
    for module in &MODULES {
        for file in ["go.mod", "go.sum", "tools.go", "pause/main.go"] {
            let file = source(module.directory).join(file);
            if file.exists() {
                hash.update(files::read_bytes(&file)?);
            }
        }
        hash.update(format!("{:?} {} {:?}", module.programs, module.tags, flags()?));
    }
    let hash = crate::image::hex(&hash.finalize());
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::home_dir()?;
        Some(home.join(".cache"))
    });
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("palisade/bed").join(&hash[..16]).join("bin"))
}

/// The flags of every build. Kubernetes tells its version only if it is told at the build.
fn flags() -> anyhow::Result<Vec<String>> {
    let version = version("k8s.io/kubernetes")?;
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    let link =
        format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}");
    Ok(["-trimpath", "-buildvcs=false", "-ldflags", &link].map(str::to_string).to_vec())
}

fn go(verb: &str, module: &Module) -> anyhow::Result<Command> {
    let Some(go) = found("go") else {
        bail!(
            "the bed is built with Go, which is not installed\nhint: any version from 1.21 on fetches the one it needs"
        );
    };
    let mut command = program(go);
    command.arg(verb).args(flags()?).current_dir(source(module.directory)).env("CGO_ENABLED", "0");
    if !module.tags.is_empty() {
        command.args(["-tags", module.tags]);
    }
    Ok(command)
}

/// Go names each package that it has built on a line of its standard error.
fn run_with_progress(go: &mut Command, module: &Module, say: Say<'_>) -> anyhow::Result<()> {
    let mut child = go.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run go")?;
    let (mut packages, mut complaints) = (0, Vec::new());
    for line in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines()) {
        let line = line?;
        if line.contains([' ', '\t']) && !line.starts_with("go: downloading ") {
            complaints.push(line);
        } else {
            packages += 1;
            if packages % PACKAGES_A_LINE == 0 {
                say(&format!("building testbed/{}: {packages} packages", module.directory));
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("building testbed/{} failed ({status}):\n{}", module.directory, complaints.join("\n"));
    }
    Ok(())
}

/// How Go names the program of a package: by its last part that is not a major version.
fn file_name(package: &str) -> &str {
    let mut parts = package.rsplit('/');
    let last = parts.next().unwrap_or(package);
    let is_version = last.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
    if is_version { parts.next().unwrap_or(last) } else { last }
}

fn names(programs: &[(&str, &str)]) -> String {
    programs.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
