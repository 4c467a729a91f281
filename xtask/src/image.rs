//! Container images from scratch, without any container tool: a layer of given files, as a tar that
//! `ctr images import`, `docker load` and `podman load` take.
//!
//! It is an OCI image layout (<https://github.com/opencontainers/image-spec>), with the `manifest.json` beside it that
//! Docker before version 25 wants. The same files give the same image, byte by byte.

pub mod palisade;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::bed::files;

/// What the image holds.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Its name with its tag.
    pub name: &'a str,
    /// The program that a container runs, and arguments that it always has.
    pub entrypoint: &'a [&'a str],
    /// The arguments that a container may replace.
    pub arguments: &'a [&'a str],
    /// Programs: where each is in the image, and the file it is made of.
    pub files: &'a [(&'a str, PathBuf)],
}

impl Image<'_> {
    /// Writes the image.
    ///
    /// # Errors
    ///
    /// A file cannot be read or the image cannot be written.
    pub fn write(&self, out: &Path) -> anyhow::Result<()> {
        let mut file = files::create(out)?;
        self.write_to(&mut file).with_context(|| format!("cannot write the image {}", out.display()))
    }

    fn write_to(&self, out: &mut File) -> anyhow::Result<()> {
        let layer = self.layer()?;
        let (layer_digest, layer_size) = (hex(&Sha256::digest(&layer)), layer.len());
        let config = text(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Cmd": self.arguments,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"],
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        }));
        let config_digest = hex(&Sha256::digest(&config));
        let manifest = text(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob("application/vnd.oci.image.config.v1+json", &config_digest, config.len()),
            "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer_size)],
        }));
        let manifest_digest = hex(&Sha256::digest(&manifest));
        let mut described = blob("application/vnd.oci.image.manifest.v1+json", &manifest_digest, manifest.len());
        described["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [described],
        });
        let path = |digest: &str| format!("blobs/sha256/{digest}");
        let docker = json!([{
            "Config": path(&config_digest), "RepoTags": [self.name], "Layers": [path(&layer_digest)],
        }]);

        let mut archive = Archive::new(out);
        archive.directory("blobs")?;
        archive.directory("blobs/sha256")?;
        archive.file("oci-layout", 0o644, &text(&json!({"imageLayoutVersion": "1.0.0"})))?;
        archive.file("index.json", 0o644, &text(&index))?;
        archive.file("manifest.json", 0o644, &text(&docker))?;
        archive.file(&path(&config_digest), 0o644, &config)?;
        archive.file(&path(&manifest_digest), 0o644, &manifest)?;
        archive.file(&path(&layer_digest), 0o644, &layer)?;
        archive.end().map(drop)
    }

    /// The files, and an empty `/tmp`, which programs expect.
    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = Archive::new(Vec::new());
        archive.directory("tmp")?;
        for (path, source) in self.files {
            archive.file(path.trim_start_matches('/'), 0o755, &files::read_bytes(source)?)?;
        }
        archive.end()
    }
}

/// A tar whose bytes depend on its content only.
struct Archive<W: Write>(tar::Builder<W>);

impl<W: Write> Archive<W> {
    fn new(out: W) -> Archive<W> {
        Archive(tar::Builder::new(out))
    }

    fn directory(&mut self, path: &str) -> anyhow::Result<()> {
        let mode = if path == "tmp" { 0o1777 } else { 0o755 };
        self.entry(&format!("{path}/"), EntryType::Directory, mode, &[])
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.entry(path, EntryType::Regular, mode, content)
    }

    fn entry(&mut self, path: &str, kind: EntryType, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        Ok(self.0.append_data(&mut header, path, content)?)
    }

    fn end(self) -> anyhow::Result<W> {
        Ok(self.0.into_inner()?)
    }
}

/// The digits of a digest.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn blob(media_type: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

/// As Go names it, whose names images have.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_names_every_blob_by_its_digest_and_comes_out_the_same_again() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("program");
        files::write(&source, b"not much of a program").unwrap();
        let content = [("/bin/program", source)];
        let image =
            Image { name: "localhost/test:1", entrypoint: &["/bin/program"], arguments: &["-v"], files: &content };
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        image.write(&first).unwrap();
        image.write(&second).unwrap();
        let bytes = files::read_bytes(&first).unwrap();
        assert_eq!(bytes, files::read_bytes(&second).unwrap());

        let mut blobs = 0;
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            std::io::copy(&mut entry, &mut content).unwrap();
            if let Some(digest) = path.strip_prefix("blobs/sha256/").filter(|digest| !digest.is_empty()) {
                assert_eq!(digest, hex(&Sha256::digest(&content)));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3, "config, manifest and layer");
    }
}
