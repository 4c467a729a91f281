//! The way to a server from another network namespace. Unix sockets know no namespaces: connections are carried through one.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Leads a unix socket to a server, for as long as the process runs.
pub(crate) fn lead(socket: &Path, server: SocketAddr) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
            join(client, server);
        }
    });
    Ok(())
}

/// Carries connections to a listener into a unix socket that leads to a server, as [`lead`](crate::TestApi::lead) makes it, for as long as
/// the process runs.
pub fn carry(listener: &TcpListener, socket: &Path) {
    for client in listener.incoming() {
        let (Ok(client), Ok(server)) = (client, UnixStream::connect(socket)) else { continue };
        join(server, client);
    }
}

/// Carries both ways between the two, until one of them ends.
fn join(unix: UnixStream, tcp: TcpStream) {
    // What is not sent at once looks like a slow server.
    let _ = tcp.set_nodelay(true);
    let (Ok(mut unix_reader), Ok(mut tcp_reader)) = (unix.try_clone(), tcp.try_clone()) else { return };
    let (mut unix_writer, mut tcp_writer) = (unix, tcp);
    std::thread::spawn(move || {
        let _ = io::copy(&mut unix_reader, &mut tcp_writer);
        let _ = tcp_writer.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let _ = io::copy(&mut tcp_reader, &mut unix_writer);
        let _ = unix_writer.shutdown(Shutdown::Both);
    });
}
