//! What the integration tests share: the tables of cases, and the places where a case can run.

pub mod envoy;
pub mod fleet;
pub mod harness;
pub mod http2;
pub mod lds;
pub mod native;
pub mod poisons;
pub mod probe;
pub mod swaps;
pub mod table;
pub mod watch;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie inside the workspace").to_path_buf()
}
