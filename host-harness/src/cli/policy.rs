//! Policies as the commands are given them: folders and archives → bundles → what is compiled of them.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use host_harness::archive::{Archive, Take};
use portcullis_filter::{
    bundle::{Bundle, BundleError},
    config::DEFAULT_SIZE_LIMIT_BYTES,
    policy::{Module, Moment, Part, compiler},
};
use portcullis_rego::{Options, Policy, syntax::Pos};

/// Now, and a chance of its own.
pub(super) fn moment() -> Moment {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment {
        now_ns: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        seed: rand::random(),
        ..Moment::default()
    }
}

/// One bundle: an archive, or folders with commas in between, each rooted at `/`.
///
/// The names of its files are those that a person can open.
pub(super) fn read(argument: &str, take: Take) -> Result<Bundle> {
    let parts: Vec<&Path> = match Path::new(argument) {
        path if path.exists() => vec![path],
        _ => argument.split(',').map(Path::new).collect(),
    };
    let refused = "the filter would refuse this bundle";
    if let [file] = parts.as_slice()
        && file.is_file()
    {
        let bytes = std::fs::read(file).with_context(|| argument.to_owned())?;
        if file.extension().is_some_and(|ending| ending == "rego") {
            return single(file, bytes);
        }
        return Bundle::read(argument, &bytes, DEFAULT_SIZE_LIMIT_BYTES).context(refused);
    }
    let (archive, origins) = Archive::with_origins(&parts, take)?;
    let origin = |name: &str| {
        let entry = origins.iter().find(|(entry, _)| name.ends_with(entry.as_str()));
        entry.map(|(_, path)| path.display().to_string())
    };
    let name = argument.trim_end_matches('/');
    let mut bundle = match Bundle::read(name, &archive.build(), DEFAULT_SIZE_LIMIT_BYTES) {
        Ok(bundle) => bundle,
        Err(BundleError::Module(mut error)) => {
            error.name = origin(&error.name).unwrap_or(error.name);
            return Err(BundleError::Module(error)).context(refused);
        }
        Err(error) => return Err(error).context(refused),
    };
    for module in &mut bundle.modules {
        if let Some(path) = origins.get(&module.name[name.len()..]) {
            module.name = path.display().to_string();
        }
    }
    if take == Take::Tests {
        // Reading a bundle passes over tests that are none; here they are what it is about.
        for (entry, path) in &origins {
            let shown = path.display().to_string();
            if entry.ends_with(".rego") && !bundle.modules.iter().any(|module| module.name == shown) {
                let text = std::fs::read_to_string(path).with_context(|| shown.clone())?;
                Module::parse(shown, text, portcullis_rego::Version::V1)?;
            }
        }
    }
    Ok(bundle)
}

/// One Rego file.
fn single(file: &Path, bytes: Vec<u8>) -> Result<Bundle> {
    let name = file.file_name().map(PathBuf::from).unwrap_or_default().display().to_string();
    let shown = file.display().to_string();
    let text = String::from_utf8(bytes.clone()).with_context(|| format!("{shown}: it is not UTF-8 text"))?;
    let module = Module::parse(shown.clone(), text, portcullis_rego::Version::V1)?;
    let mut bundle =
        Bundle::read(&shown, &Archive::new().file(&name, bytes).build(), DEFAULT_SIZE_LIMIT_BYTES)?;
    bundle.modules = vec![module];
    Ok(bundle)
}

/// What is wrong with the text of each Rego file of folders.
pub(super) fn syntax_faults(argument: &str) -> Vec<String> {
    let parts: Vec<&Path> = argument.split(',').map(Path::new).collect();
    let Ok((_, origins)) = Archive::with_origins(&parts, Take::Bundle) else { return Vec::new() };
    let files = origins.values().filter(|path| path.extension().is_some_and(|ending| ending == "rego"));
    let faults = files.filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        Module::parse(path.display().to_string(), text, portcullis_rego::Version::V1).err()
    });
    faults.map(|fault| fault.to_string()).collect()
}

/// Compiles bundles with options of one's own.
pub(super) fn compile(parts: Vec<Part<'_>>, options: Options) -> Result<Policy> {
    Ok(compiler(parts, options)?.finish()?)
}

/// `file:line`.
pub(super) fn place(policy: &Policy, pos: Pos) -> String {
    let file = policy.files().get(pos.file as usize).map_or("", String::as_str);
    format!("{file}:{}", pos.line)
}

/// The keys of a decision's path: `shop/authz/allow`.
pub(super) fn keys(decision: &str) -> Result<Vec<&str>> {
    let keys: Vec<&str> = decision.trim_start_matches("data/").split('/').collect();
    if keys.iter().any(|key| key.is_empty()) {
        bail!(
            "`{decision}` is no path of a decision: write the keys below `data` with slashes, as in \
             `shop/authz/allow`"
        );
    }
    Ok(keys)
}
