//! A host besides those of the cluster, for the time of a test.

use super::{Bed, Component, Host, files, network};

/// A host on the segment of the bed that is not of its cluster. It ends when it is dropped, and its disk is gone.
#[derive(Debug)]
pub struct Guest {
    /// The host.
    pub host: Host,
    place: u8,
    outside: Host,
}

impl Guest {
    /// Boots it with its network, and nothing else.
    pub(super) fn boot(bed: &Bed, host: Host, place: u8) -> anyhow::Result<Guest> {
        host.boot()?;
        network::plug(&bed.outside, &host, place)?;
        Ok(Guest { host, place, outside: bed.outside.clone() })
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> [String; 2] {
        network::addresses(self.place)
    }

    /// Makes it the control plane of a cluster of its own, of API server and store alone, with the keys of the bed.
    ///
    /// # Errors
    ///
    /// A component does not start.
    pub fn start_control_plane(&self, bed: &Bed) -> anyhow::Result<()> {
        for component in [Component::Etcd, Component::ApiServer] {
            let mut arguments = component.arguments(0);
            if component == Component::ApiServer {
                arguments.push(format!("--advertise-address={}", self.addresses()[0]));
            }
            self.host.start(&bed.binaries.program(component.program()), &arguments)?;
        }
        Ok(())
    }

    fn end(&self) -> anyhow::Result<()> {
        network::unplug(&self.outside, &self.host)?;
        self.host.end()?;
        files::remove_directory(self.host.directory())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("warning: {} does not end: {error:#}", self.host.name());
        }
    }
}
