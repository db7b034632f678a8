//! The scenarios and modules that this crate carries.

use std::{borrow::Cow, path::Path};

use include_dir::{Dir, include_dir};

use super::scenario::{Scenario, ScenarioError};
use crate::{FILTER_MODULE, GUESTS_MODULE};

static SCENARIOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");

/// Why a module cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "module `{path}` cannot be read: {reason}; name a .wasm or .wat file, `portcullis:filter` or `portcullis:guests`"
)]
pub struct ModuleError {
    path: String,
    reason: std::io::Error,
}

/// Every scenario of the small guests, by name, each variant apart.
///
/// Errors: a file is faulty, which a test rules out.
pub fn scenarios() -> Result<Vec<Scenario>, ScenarioError> {
    read(&SCENARIOS)
}

/// Every scenario of the filter itself, by name. Their names may be those of [`scenarios`], which have variants.
///
/// Errors: a file is faulty, which a test rules out.
pub fn filter_scenarios() -> Result<Vec<Scenario>, ScenarioError> {
    SCENARIOS.get_dir("filter").map_or_else(|| Ok(Vec::new()), read)
}

fn read(folder: &Dir<'_>) -> Result<Vec<Scenario>, ScenarioError> {
    let mut files: Vec<_> = folder.files().collect();
    files.sort_by_key(|file| file.path());
    let mut scenarios = Vec::new();
    for file in files {
        let name = file.path().display().to_string();
        scenarios.extend(Scenario::parse(file.contents_utf8().unwrap_or_default(), &name)?);
    }
    Ok(scenarios)
}

/// The bytes of a module as a scenario names it.
///
/// Errors: there is no such file, or it cannot be read.
pub fn module(name: &str) -> Result<Cow<'static, [u8]>, ModuleError> {
    match name {
        "portcullis:filter" => Ok(Cow::Borrowed(FILTER_MODULE)),
        "portcullis:guests" => Ok(Cow::Borrowed(GUESTS_MODULE)),
        path => std::fs::read(Path::new(path))
            .map(Cow::Owned)
            .map_err(|reason| ModuleError { path: path.to_owned(), reason }),
    }
}
