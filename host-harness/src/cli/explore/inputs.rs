//! What is explored: scenarios and modules, as the command line names them.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use host_harness::race::{
    builtin,
    scenario::{Additions, Scenario},
};

use super::Arguments;

/// What is explored.
pub(super) struct Inputs {
    /// Each with its module.
    pub(super) scenarios: Vec<Arc<Scenario>>,
    /// Whether nobody wrote a scenario.
    pub(super) is_default: bool,
}

/// What a file is.
enum Kind {
    Module,
    Scenario,
}

// === impl Inputs ===

impl Inputs {
    /// Errors: a file that is missing, that is neither or that cannot be read, and options that do not go together.
    pub(super) fn read(arguments: &Arguments) -> Result<Inputs> {
        let (mut modules, mut files) = (arguments.module.clone(), arguments.scenario.clone());
        for file in &arguments.files {
            match kind(file)? {
                Kind::Module => modules.push(file.clone()),
                Kind::Scenario => files.push(file.clone()),
            }
        }
        let mut scenarios = Vec::new();
        if arguments.all {
            scenarios.extend(if arguments.filter {
                builtin::filter_scenarios()?
            } else {
                builtin::scenarios()?
            });
        }
        for file in &files {
            scenarios.extend(Scenario::load(file)?);
        }
        let is_default = scenarios.is_empty();
        ensure!(
            !(is_default && modules.is_empty()),
            "nothing to explore: name a filter (`portcullis explore FILTER.wasm`), a scenario, or `--all`"
        );
        for (option, given) in [
            ("--configuration", arguments.configuration.is_some()),
            ("--requests", arguments.requests.is_some()),
        ] {
            ensure!(
                is_default || !given,
                "`{option}` is for a filter without a scenario: write it into the scenario, or leave the scenario out"
            );
        }
        if !modules.is_empty() {
            scenarios = with_modules(arguments, &names(&modules)?, &scenarios)?;
        }
        let is_wanted = |scenario: &Scenario| {
            let name = format!("{} {}", scenario.name, scenario.variant);
            arguments.only.as_ref().is_none_or(|text| name.contains(text.as_str()))
        };
        let scenarios = scenarios.into_iter().filter(is_wanted).map(Arc::new).collect();
        Ok(Inputs { scenarios, is_default })
    }
}

/// What a file is, by its name, and where that does not say it by how it begins.
fn kind(file: &Path) -> Result<Kind> {
    let shown = file.display();
    if file.to_str().is_some_and(|name| name.starts_with("portcullis:")) {
        return Ok(Kind::Module);
    }
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("wasm" | "wat") => return Ok(Kind::Module),
        Some("yaml" | "yml") => return Ok(Kind::Scenario),
        Some("race") => bail!("{shown} is a schedule: `portcullis replay {shown}` runs it again"),
        _ => {}
    }
    let unreadable = || {
        format!(
            "{shown} cannot be read: name a filter (.wasm or .wat) or a scenario (.yaml), or try `portcullis explore --help`"
        )
    };
    let mut begin = Vec::new();
    fs::File::open(file).and_then(|file| file.take(4).read_to_end(&mut begin)).with_context(unreadable)?;
    if begin == b"\0asm" || begin.starts_with(b"(") {
        return Ok(Kind::Module);
    }
    bail!(
        "{shown} is neither a filter (.wasm or .wat) nor a scenario (.yaml) by its name: say which with `--module {shown}` or \
         `--scenario {shown}`"
    )
}

/// Errors: one that is given twice.
fn names(modules: &[PathBuf]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for module in modules {
        let module = module.display().to_string();
        ensure!(!names.contains(&module), "module `{module}` is given twice: name each module once");
        names.push(module);
    }
    Ok(names)
}

/// Each scenario, or else the default one, with each module.
fn with_modules(arguments: &Arguments, modules: &[String], scenarios: &[Scenario]) -> Result<Vec<Scenario>> {
    let with = |scenario: &Scenario, module: &String| Scenario { module: module.clone(), ..scenario.clone() };
    if !scenarios.is_empty() {
        let each =
            scenarios.iter().flat_map(|scenario| modules.iter().map(move |module| with(scenario, module)));
        return Ok(each.collect());
    }
    let configuration = arguments.configuration.as_deref().map(configuration).transpose()?;
    let requests = match &arguments.requests {
        None => None,
        Some(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path).with_context(|| {
                format!("`--requests {name}` cannot be read: give lines `METHOD PATH`, or an access log")
            })?;
            Some((text, name))
        }
    };
    let additions = Additions {
        requests: requests.as_ref().map(|(text, name)| (text.as_str(), name.as_str())),
        configuration: configuration.as_deref(),
    };
    let default = |module: &String| anyhow::Ok(Scenario::default_with(module, &additions)?);
    modules.iter().map(default).collect()
}

/// The plugin configuration: what is in the file of this name, or this text.
///
/// Errors: a name of a file that is not there, or has no text in it.
fn configuration(given: &str) -> Result<String> {
    let path = Path::new(given);
    if path.is_file() {
        return fs::read_to_string(path)
            .with_context(|| format!("`--configuration {given}` cannot be read as UTF-8 text"));
    }
    let names_file = ["json", "yaml", "yml", "toml", "txt", "conf"].map(Some);
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_word = !given.contains(|c: char| c.is_whitespace() || "{}[]:=\"'".contains(c));
    ensure!(
        !(is_word && (names_file.contains(&extension) || given.contains('/'))),
        "`--configuration {given}`: there is no such file; check the path, or put a text that only looks like one into a file"
    );
    Ok(given.to_owned())
}

/// What distinguishes scenarios of one name and variant, where several modules are explored: the module's own name.
pub(super) fn module_name<'a>(scenario: &'a Scenario, scenarios: &[Arc<Scenario>]) -> Option<&'a str> {
    let twin = |other: &&Arc<Scenario>| {
        (&other.name, &other.variant) == (&scenario.name, &scenario.variant)
            && other.module != scenario.module
    };
    scenarios.iter().find(twin)?;
    let path = Path::new(&scenario.module);
    path.file_stem().and_then(|stem| stem.to_str()).or(Some(&scenario.module))
}
