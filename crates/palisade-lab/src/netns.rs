//! Anonymous network namespaces.
//!
//! A namespace lives as long as something refers to it: a process in it, a mount, a descriptor. The lab holds each
//! of its namespaces by one descriptor and nothing else. They have no name in the file system, and when the process
//! ends, however it ends, the kernel closes the descriptors and takes links, addresses, rules and sockets away.
//!
//! One thread hops between them: a socket belongs for life to the namespace in which it was created, whoever uses it later.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::LabError;
use crate::sys;

/// A network namespace, gone with the last of its descriptors and of the sockets made in it.
#[derive(Debug)]
pub struct Netns {
    place: String,
    descriptor: Arc<OwnedFd>,
}

impl Netns {
    /// Makes a namespace and moves the calling thread into it. The name is for errors.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it; [`become_root`](crate::become_root) comes first.
    pub fn create(place: &str) -> Result<Netns, LabError> {
        let failed = |source| LabError::Namespace { operation: "create", place: place.to_string(), source };
        sys::unshare(UnshareFlags::NEWNET).map_err(failed)?;
        let descriptor = Arc::new(current().map_err(failed)?);
        Ok(Netns { place: place.to_string(), descriptor })
    }

    /// Moves the calling thread into this namespace.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it.
    pub fn enter(&self) -> Result<(), LabError> {
        move_into_link_name_space(self.descriptor.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| {
            LabError::Namespace { operation: "enter", place: self.place.clone(), source: errno.into() }
        })
    }

    /// The descriptor that holds it, for whoever wants to enter.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }

    /// Writes a kernel setting of this namespace, in which the calling thread must be: `/proc/sys/net` shows
    /// each thread the settings of its own namespace.
    ///
    /// # Errors
    ///
    /// If there is no such setting, or it may not be written.
    pub fn set(&self, path: &str, value: &'static str) -> Result<(), LabError> {
        write_setting(path, value).map_err(|source| LabError::Sysctl {
            path: path.to_string(),
            value,
            place: self.place.clone(),
            source,
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The namespace of the calling thread.
fn current() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Writes one of the small files of `/proc`.
pub(crate) fn write_setting(path: &str, value: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// Reads one of the small files of `/proc`; what is beyond 16 KiB is left out.
pub(crate) fn read_setting(path: &str) -> io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0; 16384];
    let mut length = 0;
    while length < buffer.len() {
        match rustix::io::read(&file, &mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
