//! Names made of content.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The first 64 bits of the SHA-256 of a text, as sixteen hexadecimal digits.
pub fn short(text: impl AsRef<[u8]>) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(text).iter().take(8) {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
