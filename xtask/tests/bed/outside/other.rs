//! A second cluster.

use anyhow::Context as _;
use xtask::bed::{Guest, wait};

use super::server::{ROOT, Server};
use crate::support::PATIENCE;

/// A second cluster, without nodes that are more than objects.
pub struct Other<'a> {
    server: &'a Server<'a>,
    guest: Guest,
}

impl<'a> Other<'a> {
    pub fn start(server: &'a Server<'a>) -> anyhow::Result<Other<'a>> {
        let other = Other { server, guest: server.bed.guest("other", 2)? };
        other.guest.start_control_plane(server.bed)?;
        let applied = || Ok(other.kubectl(&format!("apply -f {ROOT}/deploy/outside-host/rbac.yaml")).is_ok());
        wait(PATIENCE, applied)?.context("the API server of the other cluster does not start")?;
        Ok(other)
    }

    /// Its certificate is that of the bed's API server, and names other addresses.
    pub fn kubectl(&self, words: &str) -> anyhow::Result<String> {
        let server = self.address();
        self.server.run_on(&self.guest.host, &format!("kubectl --server={server} --tls-server-name=kubernetes {words}"))
    }

    fn address(&self) -> String {
        format!("https://{}:6443", self.guest.addresses()[0])
    }

    /// With a token that ends.
    pub fn kubeconfig(&self) -> anyhow::Result<String> {
        let token = self.kubectl("create token palisade-host --namespace=kube-system --duration=1h")?;
        let (address, authority) = (self.address(), self.server.bed.kubeconfig().with_file_name("ca.crt"));
        Ok(format!(
            "apiVersion: v1
kind: Config
current-context: other
clusters: [{{name: other, cluster: {{server: '{address}', tls-server-name: kubernetes, certificate-authority: '{}'}}}}]
users: [{{name: palisade-host, user: {{token: '{}'}}}}]
contexts: [{{name: other, context: {{cluster: other, user: palisade-host}}}}]
",
            authority.display(),
            token.trim()
        ))
    }

    /// A node that is an object alone.
    pub fn node(&self, name: &str, [v4, v6]: [&str; 2]) -> anyhow::Result<()> {
        self.kubectl(&format!("create -f - <<END\n{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}}}\nEND"))?;
        let addresses =
            format!(r#"{{"type": "InternalIP", "address": "{v4}"}}, {{"type": "ExternalIP", "address": "{v6}"}}"#);
        let patch = format!(r#"{{"status": {{"addresses": [{addresses}]}}}}"#);
        self.kubectl(&format!("patch node {name} --subresource=status --type=merge --patch '{patch}'"))?;
        Ok(())
    }
}
