//! Keys and certificates of the cluster, and the kubeconfigs that name them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::files;

/// The cluster's certificate authority, and where its files lie.
pub(super) struct Pki {
    directory: PathBuf,
    authority: Issuer<'static, KeyPair>,
}

impl Pki {
    /// A new authority, and the key that signs tokens of service accounts.
    pub(super) fn new(directory: &Path) -> anyhow::Result<Pki> {
        let key = KeyPair::generate().context("cannot make the key of the authority")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name("bed-authority", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        files::write(&directory.join("ca.crt"), params.self_signed(&key)?.pem())?;

        let tokens = KeyPair::generate().context("cannot make the key of the service accounts")?;
        files::write(&directory.join("tokens.key"), tokens.serialize_pem())?;
        files::write(&directory.join("tokens.pub"), tokens.public_key_pem())?;
        Ok(Pki { directory: directory.to_path_buf(), authority: Issuer::new(params, key) })
    }

    /// Writes `file.crt` and `file.key`: a server that answers to `names` (host names and addresses), and a client
    /// whom the API server knows as the user `user` of the group `group`.
    pub(super) fn sign(&self, file: &str, user: &str, group: Option<&str>, names: &[String]) -> anyhow::Result<()> {
        let context = || format!("cannot make the certificate of {user}");
        let mut params = CertificateParams::new(names).with_context(context)?;
        params.distinguished_name = name(user, group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().with_context(context)?;
        let certificate = params.signed_by(&key, &self.authority).with_context(context)?;
        files::write(&self.directory.join(format!("{file}.crt")), certificate.pem())?;
        files::write(&self.directory.join(format!("{file}.key")), key.serialize_pem())
    }

    /// The same, and `file.kubeconfig`, which leads that client to the API server at `server`.
    pub(super) fn client(
        &self,
        file: &str,
        user: &str,
        group: Option<&str>,
        names: &[String],
        server: &str,
    ) -> anyhow::Result<()> {
        self.sign(file, user, group, names)?;
        files::write(&self.directory.join(format!("{file}.kubeconfig")), kubeconfig(&self.directory, file, server))
    }
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common);
    name
}

fn kubeconfig(pki: &Path, user: &str, server: &str) -> String {
    let pki = pki.display();
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: bed
  cluster: {{server: '{server}', certificate-authority: '{pki}/ca.crt'}}
users:
- name: {user}
  user: {{client-certificate: '{pki}/{user}.crt', client-key: '{pki}/{user}.key'}}
contexts:
- name: bed
  context: {{cluster: bed, user: {user}}}
current-context: bed
"
    )
}
