//! The schedule files that a search leaves.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use host_harness::{
    abi::Module,
    race::{
        self,
        scenario::Scenario,
        search::{Kept, Options, Report},
    },
};

use super::inputs::module_name;

/// A schedule file for each scenario that may break.
pub(super) struct Files(Vec<PathBuf>);

// === impl Files ===

impl Files {
    /// Each scenario has a name of its own here, whatever they are called.
    ///
    /// Errors: nothing can be written into the folder.
    pub(super) fn in_folder(folder: &Path, scenarios: &[Arc<Scenario>]) -> Result<Files> {
        let unusable = || format!("`--out {}`: nothing can be written there", folder.display());
        fs::create_dir_all(folder).with_context(unusable)?;
        tempfile::NamedTempFile::new_in(folder).with_context(unusable)?;
        let mut files: Vec<PathBuf> = Vec::new();
        for scenario in scenarios {
            let parts = [Some(scenario.name.as_str()), Some(scenario.variant.as_str())];
            let parts = parts.into_iter().chain([module_name(scenario, scenarios)]).flatten();
            let name = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
            let name = name.as_str();
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let mut names = std::iter::once(name.to_owned()).chain(numbered);
            files.extend(names.find_map(|name| {
                let file = folder.join(format!("{name}.race"));
                (!files.contains(&file)).then_some(file)
            }));
        }
        Ok(Files(files))
    }

    /// Shrinks what was found and writes it down.
    pub(super) fn write(
        &self,
        scenarios: &[Arc<Scenario>],
        modules: &BTreeMap<String, Module>,
        reports: &mut [Report],
        options: &Options,
    ) -> Result<()> {
        for ((scenario, report), path) in scenarios.iter().zip(reports).zip(&self.0) {
            let Some(found) = &report.first else { continue };
            let (schedule, trace) = race::shrink(&modules[&scenario.module], scenario, found, options)?;
            let text = schedule.to_string();
            fs::write(path, &text).with_context(|| path.display().to_string())?;
            report.kept = Some(Kept {
                file: path.display().to_string(),
                id: schedule.header("id").unwrap_or_default().to_owned(),
                raced: trace.findings.first().and_then(|finding| finding.raced.clone()),
                schedule: text,
            });
        }
        Ok(())
    }
}
