//! Hashes that stay the same across restarts, failovers and versions. They take the place of random numbers.

use sha2::{Digest, Sha256};

/// The SHA-256 of `parts`, each framed by its length, so that ("ab", "c") differs from ("a", "bc").
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A number spread evenly over all of u64.
pub fn number(parts: &[&str]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(parts);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The first `length` (at most 64) hexadecimal digits.
pub fn hex(parts: &[&str], length: usize) -> String {
    hexadecimal(&digest(parts), length)
}

/// The same of anything else.
pub fn hex_of_bytes(bytes: &[u8], length: usize) -> String {
    hexadecimal(&Sha256::digest(bytes), length)
}

fn hexadecimal(digest: &[u8], length: usize) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("below 16");
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).take(length).collect()
}
