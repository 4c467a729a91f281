//! The oracle against the text of the API: small clusters built by hand, and what must come out.

#![expect(clippy::unwrap_used, reason = "a test ends where its own data is wrong")]

mod cluster;
mod ends;
mod exemptions;
mod invented;
mod isolation;
mod peers;
mod ports;
mod servers;
mod services;
mod text;
