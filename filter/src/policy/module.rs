//! One Rego file, parsed once to be checked before anything is compiled of it.

use portcullis_rego::syntax::{self, tree::Names};

pub use portcullis_rego::Version as RegoVersion;

/// Files of this ending hold tests. A bundle may come with those that `opa test` runs.
const TEST_ENDING: &str = "_test.rego";

/// A Rego file that parses.
#[derive(Debug, Clone)]
pub struct Module {
    /// Name in messages: bundle and path.
    pub name: String,
    pub(super) text: String,
    pub(super) version: RegoVersion,
    /// Keys of the package below `data`.
    pub package: Vec<String>,
}

/// Why a Rego file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}:{column}: {message}")]
pub struct ModuleError {
    /// The file.
    pub name: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What is wrong, and what to do.
    pub message: String,
}

// === impl Module ===

impl Module {
    /// Parses one file.
    ///
    /// Errors: [`ModuleError`] for text that is not Rego of this version, or that is too large or nests too deeply.
    pub fn parse(name: String, text: String, version: RegoVersion) -> Result<Self, ModuleError> {
        #[cfg(feature = "hooks")]
        crate::hooks::switched::end_at_read(&text);
        match syntax::parse(0, &text, version, &mut Names::default()) {
            Ok(parsed) => {
                let key = |key: &portcullis_rego::Value| super::string(key).unwrap_or_default().to_owned();
                Ok(Self { package: parsed.package.iter().map(key).collect(), name, text, version })
            }
            Err(error) => {
                Err(ModuleError { name, line: error.line, column: error.col, message: error.message })
            }
        }
    }

    /// Whether it holds tests, by its name.
    pub fn is_test(name: &str) -> bool {
        name.ends_with(TEST_ENDING)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Module, ModuleError> {
        Module::parse("test.rego".to_owned(), text.to_owned(), RegoVersion::V1)
    }

    #[test]
    fn a_module_knows_its_package() {
        assert_eq!(parse("package a.b\n\nallow if input.x\n").unwrap().package, ["a", "b"]);
        assert_eq!(parse("package a[\"b c\"].if\n").unwrap().package, ["a", "b c", "if"]);
    }

    #[test]
    fn a_syntax_error_names_file_and_line() {
        let error = parse("package a\n\nallow if {\n").unwrap_err().to_string();
        assert!(error.starts_with("test.rego:") && !error.contains('\n'), "{error}");
        let error = parse("package a\n\nkey := \"secret\" secret\n").unwrap_err().to_string();
        assert!(error.starts_with("test.rego:3:"), "{error}");
    }
}
