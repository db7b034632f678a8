//! Random policies and calls beside OPA.

pub mod arguments;
pub mod calls;
pub mod documents;
pub mod families;
pub mod given;
pub mod oracle;
pub mod policies;
pub mod policy;
pub mod random;
pub mod subject;
pub mod tree;
