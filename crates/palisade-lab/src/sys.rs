//! The few system calls that have no safe wrapper.
#![allow(unsafe_code, reason = "unshare, fork, setsockopt and sigaction; each block says why it is sound")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::UnshareFlags;

/// Leaves the namespaces named by `flags` for new ones. Only namespace flags are passed here.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES), "descriptors stay shared between the threads");
    // SAFETY: the one flag that can make descriptors invalid for other threads, FILES, is never passed.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Sets a socket option whose value is an `int`.
pub(crate) fn set_int_option(socket: impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(&value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Who one is after a fork.
pub(crate) enum Forked {
    /// The parent, with the child's process id.
    Parent(i32),
    /// The child.
    Child,
}

/// Forks. The process must have a single thread: the child would inherit the locks of the others.
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: the caller has a single thread, so no lock is held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Makes this process survive Ctrl-C and Ctrl-\, which the terminal sends to the command in front as well.
/// A handler that does nothing is used, not `SIG_IGN`, because an ignored signal stays ignored after exec.
pub(crate) fn survive_interrupts() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: `action` is fully initialised (all zeroes are a valid sigaction), and the handler does nothing,
        // which is async-signal-safe.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The same bytes as a buffer that the kernel fills.
pub(crate) fn as_uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let length = bytes.len();
    // SAFETY: the layouts are equal, and socket2 promises to write only initialised bytes into such buffers.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), length) }
}

/// Ends this process at once, without running what the parent of a fork has registered for its own end.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and does not return.
    unsafe { libc::_exit(code) }
}
