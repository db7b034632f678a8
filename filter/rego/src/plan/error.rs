//! Why a policy is refused: where, what, and what to do.

use std::fmt;

use crate::syntax::Pos;

/// The kind of a refusal, by OPA's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The text is not Rego.
    Parse,
    /// Names, declarations, `with`.
    Compile,
    /// A variable that nothing binds.
    UnsafeVar,
    /// Types, arity, conflicts.
    Type,
    /// A rule that reaches itself.
    Recursion,
    /// Larger than what is compiled here.
    Limit,
}

impl Code {
    /// OPA's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Code::Parse => "rego_parse_error",
            Code::Compile => "rego_compile_error",
            Code::UnsafeVar => "rego_unsafe_var_error",
            Code::Type => "rego_type_error",
            Code::Recursion => "rego_recursion_error",
            Code::Limit => "limit_error",
        }
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Its kind.
    pub code: Code,
    /// The file's name, as it was given.
    pub file: String,
    /// Line, from 1; 0 if the refusal has no place.
    pub line: u32,
    /// Column, from 1.
    pub col: u32,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, col) = (&self.file, self.line, self.col);
        if line > 0 {
            write!(f, "{file}:{line}:{col}: ")?;
        } else if !file.is_empty() {
            write!(f, "{file}: ")?;
        }
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for CompileError {}

/// The refusals of a compilation, at most ten, as they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileErrors(pub Vec<CompileError>);

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileErrors {}

/// A refusal before its file has a name.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) pos: Pos,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(code: Code, pos: Pos, message: impl Into<String>) -> Fault {
        Fault { code, pos, message: message.into() }
    }
}
