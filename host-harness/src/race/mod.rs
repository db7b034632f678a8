//! Races of a filter: a scenario is run under many schedules, and a schedule that breaks it becomes a file.
//!
//! | part | what it is |
//! |---|---|
//! | [`scenario`] | what is run: VMs, clusters, requests, and what must hold |
//! | [`search`] | looking for the schedules that break it |
//! | [`trace`] | one run, step by step, in names that people know |
//! | [`builtin`] | the scenarios that come with this crate |
//! | [`oracle`] | what holds and what does not, judged over what was seen |

pub mod builtin;
pub mod oracle;
pub mod scenario;
pub mod search;
mod stage;
pub mod trace;

pub use stage::StageError;
