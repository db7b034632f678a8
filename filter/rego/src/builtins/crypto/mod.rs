//! Hashes, signatures, keys and certificates. Source: `v1/topdown/crypto.go`, Go's `crypto`.

pub(super) mod certificates;
pub(super) mod curves;
mod der;
pub(super) mod hashes;
pub(super) mod keys;
mod modular;
pub(super) mod pem;
pub(super) mod pki;
pub(super) mod private;
pub(super) mod requests;
pub(super) mod rsa;

const SOURCE: &str = "v1/topdown/crypto.go";

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof;
