//! The server with its database, and who reaches it.
#![expect(clippy::disallowed_methods, reason = "looks for a program of the machine")]

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use xtask::bed::{Bed, Guest, Host, wait};
use xtask::image;
use xtask::probe;

use super::document::{Document, KUBECONFIG, LIST, replaced};
use crate::support::PATIENCE;

/// The port of the database.
pub const POSTGRESQL: u16 = 5432;
/// The checkout.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Where the commands of the document are run that are not for the server.
const ADMINISTRATOR: &str = "/run/administrator";
/// How long is waited for an answer that is not to come.
const SILENCE: Duration = Duration::from_millis(600);

/// A server with a database, guarded; the end of the value is the end of the host.
pub struct Server<'a> {
    pub bed: &'a Bed,
    pub guest: Guest,
    pub document: Document,
    programs: Programs,
    _user: User<'a>,
}

impl<'a> Server<'a> {
    /// From nothing, as the document has it.
    pub fn guarded(bed: &'a Bed, programs: Programs) -> anyhow::Result<Server<'a>> {
        let guest = bed.guest("database", 1)?;
        let document = Document::read(&guest.addresses()[0])?;
        let server = Server { bed, guest, document, programs, _user: User(bed) };
        server.start_postgresql()?;
        for stranger in [&bed.node("node1")?.host, bed.outside()] {
            server.answers(stranger)?;
        }
        server.run(&format!("mkdir {ADMINISTRATOR} && ln -s {ROOT}/deploy {ADMINISTRATOR}/"))?;
        for step in [&server.document.user, &server.document.kubeconfig, &server.document.install] {
            server.run(&format!("cd {ADMINISTRATOR}\n{step}"))?;
        }
        let kubeconfig = server.run(&format!("stat --format='%U %a' {KUBECONFIG}"))?;
        ensure!(kubeconfig.trim() == "root 600", "the kubeconfig on the server is {kubeconfig}");
        server.write(LIST, &server.document.list)?;
        let said = server.run(&format!("{} 2>&1", server.document.check.trim()))?;
        ensure!(said.is_empty(), "palisade host --check says {said}");
        server.start_palisade()?;
        server.becomes(bed.outside(), [false; 2])?;
        // Until the first list is there, nobody is admitted.
        server.becomes(&bed.node("node1")?.host, [true; 2])?;
        Ok(server)
    }

    /// Debian's, as the user `nobody`.
    fn start_postgresql(&self) -> anyhow::Result<()> {
        let options = format!("-c listen_addresses={} -c unix_socket_directories=", self.guest.addresses().join(","));
        self.run(&format!(
            "umask 077; mkdir /var/database; chown nobody /var/database
            nobody() {{ setpriv --reuid=nobody --regid=nogroup --clear-groups \"$@\"; }}
            nobody initdb --pgdata=/var/database --username=postgres --auth=trust --no-sync >/dev/null
            echo 'host all all all trust' >>/var/database/pg_hba.conf
            nobody pg_ctl start --wait --pgdata=/var/database --log=/var/database/log --options='{options}'"
        ))?;
        Ok(())
    }

    /// `palisade host`, which goes on.
    pub fn start_palisade(&self) -> anyhow::Result<()> {
        let mut words = self.document.host.split_whitespace().map(str::to_string);
        ensure!(words.next().as_deref() == Some("palisade"), "the document runs {}", self.document.host);
        self.guest.host.start(&self.programs.palisade, &words.collect::<Vec<_>>())
    }

    /// Runs commands on the server, where kubectl is the administrator's.
    pub fn run(&self, script: &str) -> anyhow::Result<String> {
        self.run_on(&self.guest.host, script)
    }

    /// The same on another host.
    pub fn run_on(&self, host: &Host, script: &str) -> anyhow::Result<String> {
        let kubectl = self.bed.binaries().program("kubectl");
        let directories = [&kubectl, &self.programs.palisade, &self.programs.postgres].map(|file| file.parent());
        let directories = directories.map(|directory| directory.unwrap_or(Path::new("/")).display().to_string());
        let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", directories.join(":"));
        let kubeconfig = format!("KUBECONFIG={}", self.bed.kubeconfig().display());
        let home = format!("HOME={ADMINISTRATOR}");
        host.exec(&["env", &path, &kubeconfig, &home, "PGCONNECT_TIMEOUT=2", "sh", "-euc", script])
    }

    /// Writes a file of the server that root alone reads.
    pub fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        self.run(&format!("umask 077\ncat >{file} <<'END'\n{text}END")).map(drop)
    }

    /// Serves a port with nothing, for as long as the test runs.
    pub fn listen(&self, port: u16) -> anyhow::Result<()> {
        for address in self.guest.addresses() {
            let address = SocketAddr::new(address.parse()?, port);
            let listener = self.guest.host.network()?.within(|| TcpListener::bind(address))??;
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
        Ok(())
    }

    /// Whether a host reaches a port, over IPv4 and over IPv6.
    pub fn connects(&self, host: &Host, port: u16) -> anyhow::Result<[bool; 2]> {
        let network = host.network()?;
        let connects = |address: &str| -> anyhow::Result<bool> {
            probe::connects(&network, SocketAddr::new(address.parse()?, port), SILENCE)
        };
        let [v4, v6] = self.guest.addresses();
        Ok([connects(&v4)?, connects(&v6)?])
    }

    /// Waits until a host reaches the database, or does not any more.
    pub fn becomes(&self, host: &Host, expected: [bool; 2]) -> anyhow::Result<()> {
        let becomes = wait(PATIENCE, || Ok(self.connects(host, POSTGRESQL)? == expected))?;
        becomes.with_context(|| format!("{} does not become {expected:?}; {}", host.name(), self.told()))
    }

    /// Checks that the database answers a query from a host.
    pub fn answers(&self, host: &Host) -> anyhow::Result<()> {
        for query in self.queries()? {
            let said = self.run_on(host, &query).with_context(|| format!("{}; {}", host.name(), self.told()))?;
            ensure!(said.contains("(1 row)"), "psql on {} says {said}", host.name());
        }
        Ok(())
    }

    /// Checks that nothing answers a query from a host.
    pub fn is_silent(&self, host: &Host) -> anyhow::Result<()> {
        for query in self.queries()? {
            match self.run_on(host, &query) {
                Ok(said) => bail!("PostgreSQL answers {}: {said}; {}", host.name(), self.told()),
                Err(error) => {
                    let said = format!("{error:#}");
                    ensure!(said.contains("timeout expired"), "psql on {} says {said}", host.name());
                }
            }
        }
        Ok(())
    }

    /// That of the document, at both addresses.
    fn queries(&self) -> anyhow::Result<[String; 2]> {
        let [v4, v6] = self.guest.addresses();
        Ok([self.document.query.clone(), replaced(&self.document.query, &v4, &v6)?])
    }

    /// What people are told, for an error.
    fn told(&self) -> String {
        let log = self.guest.host.log("palisade");
        let status = self.run(&self.document.status).unwrap_or_else(|error| format!("{error:#}"));
        format!(
            "palisade host status: {status}; the log: {}",
            self.run(&format!("cat {}", log.display())).unwrap_or_default()
        )
    }
}

/// The programs that are not of the bed.
pub struct Programs {
    postgres: PathBuf,
    palisade: PathBuf,
}

impl Programs {
    /// The database as Debian has it, and Palisade, which is built. Without the former, it is said that nothing is tried.
    pub fn found() -> anyhow::Result<Option<Programs>> {
        if let Some(postgres) = postgres() {
            return Ok(Some(Programs { postgres, palisade: image::palisade::build()? }));
        }
        let missing = "PostgreSQL is not installed\nhint: on Debian: apt-get install postgresql";
        ensure!(std::env::var_os("PALISADE_REQUIRE_KERNEL").is_none(), missing);
        println!("  SKIPPED: {missing}");
        Ok(None)
    }
}

/// The last version that is installed.
fn postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    versions.map(|version| version.path().join("bin/postgres")).filter(|file| file.exists()).max()
}

/// What the document leaves in the cluster; deleted when dropped.
struct User<'a>(&'a Bed);

impl Drop for User<'_> {
    fn drop(&mut self) {
        let manifests = format!("{ROOT}/deploy/outside-host");
        if let Err(error) = self.0.kubectl(&["delete", "--ignore-not-found", "-f", &manifests]) {
            println!("warning: {error:#}");
        }
    }
}
