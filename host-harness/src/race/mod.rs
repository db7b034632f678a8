//! Races of a filter: a scenario is run under many schedules, and a schedule that breaks it becomes a file.
//!
//! | part | what it is |
//! |---|---|
//! | [`scenario`] | what is run: VMs, clusters, requests, and what must hold |
//! | [`trace`] | one run, step by step, in names that people know |
//! | [`oracle`] | what holds and what does not, judged over what was seen |
//! | [`render`] | a run as a page, a drawing, text, or a file for trace viewers |

pub mod oracle;
pub mod render;
pub mod scenario;
pub mod trace;
