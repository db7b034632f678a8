//! What is wrong with a scenario file, in words that lead to the cure.

use std::fmt;

/// The first thing that is wrong with a scenario file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// The file, as it was named.
    pub file: String,
    /// Path to the key, as `events[2].worker`; empty for the document itself.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

/// A [`ScenarioError`] before the file is known.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) path: String,
    pub(super) message: String,
    pub(super) cure: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        write!(formatter, "{}: {path}: {}: {}", self.file, self.message, self.cure)
    }
}

impl Problem {
    pub(super) fn new(
        path: impl Into<String>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) -> Problem {
        Problem { path: path.into(), message: message.into(), cure: cure.into() }
    }

    pub(super) fn of(self, file: &str) -> ScenarioError {
        ScenarioError { file: file.to_owned(), path: self.path, message: self.message, cure: self.cure }
    }
}

/// The cure for a word that is none of `known`: the nearest one, or all of them.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    // Damerau's distance, for swapped letters are the commonest slip.
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let least = known.iter().map(|candidate| distance(candidate)).min();
    let nearest = known.iter().copied().filter(|candidate| Some(distance(candidate)) == least);
    match least {
        None => "remove it".to_owned(),
        Some(least) if least <= word.chars().count().div_ceil(3) => {
            format!("did you mean {}?", listed(nearest).replace(", ", " or "))
        }
        Some(_) if known.len() == 1 => format!("use {}", listed(known)),
        Some(_) => format!("use one of {}", listed(known)),
    }
}

/// `` `a`, `b`, `c` ``
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
