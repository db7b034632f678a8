//! A guest that makes the hostcalls of a table and tells what each of them returned.
//!
//! The module is generated: one function for each case, chosen by the path, so that it needs no interpreter and a case
//! stays literal. `/h3` runs case 3 in on_request_headers, `/b3` at the end of the request's body, `/r3` in
//! on_response_headers; `/t0` gives the trace of the case before, for cases that answer the request themselves.

pub mod cases;
pub mod header_cases;
pub mod shared_cases;
mod trace;

use std::fmt::Write;

pub use trace::{Returned, Rule, differences, parse};

/// Places of results: bytes (pointer and size), a word, a number; and the last word that was not 0.
const BYTES_AT: u32 = 16;
const WORD_AT: u32 = 24;
const NUMBER_AT: u32 = 32;
const LAST_WORD_AT: u32 = 48;
/// Where the literals of the table lie.
const LITERALS_AT: usize = 4096;
/// A place outside of every memory that the guest has.
const OUTSIDE: u32 = 0x7fff_0000;

/// What is asked in one request.
#[derive(Debug, Clone)]
pub struct Case {
    /// Family and fact, unique.
    pub name: String,
    /// Where the calls are made.
    pub phase: Phase,
    /// The calls, in order.
    pub calls: Vec<Call>,
    /// Whether the calls answer the request, so that the trace has to be fetched afterwards.
    pub answers: bool,
    /// How values that differ by nature are compared.
    pub rule: Rule,
}

/// The callback that makes the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// on_request_headers
    RequestHeaders,
    /// on_request_body, at the body's end, with the whole body buffered.
    RequestBody,
    /// on_response_headers of the upstream's response.
    ResponseHeaders,
}

/// One hostcall.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name in the ABI.
    pub function: &'static str,
    /// Its arguments.
    pub arguments: Vec<Argument>,
}

/// One argument, or the two of a text or of bytes that are given back.
#[derive(Debug, Clone)]
pub enum Argument {
    /// A number of 32 bits.
    Int(u32),
    /// A number of 64 bits.
    Long(i64),
    /// Pointer and length of these bytes.
    Bytes(Vec<u8>),
    /// Two places: pointer and length of what is given back.
    GivesBytes,
    /// The place for a word: an id, a token, a CAS number.
    GivesWord,
    /// The place for a number of 64 bits.
    GivesNumber,
    /// The last word that was given and was not 0.
    LastWord,
    /// A place outside of memory.
    Outside,
    /// Pointer and length of bytes outside of memory.
    OutsideBytes,
}

/// Every hostcall that a case may make, and its parameters: `i` is 32 bits and `l` is 64.
const SIGNATURES: [(&str, &str); 34] = [
    ("proxy_log", "iii"),
    ("proxy_get_log_level", "i"),
    ("proxy_get_status", "iii"),
    ("proxy_get_property", "iiii"),
    ("proxy_set_property", "iiii"),
    ("proxy_set_tick_period_milliseconds", "i"),
    ("proxy_get_current_time_nanoseconds", "i"),
    ("proxy_set_effective_context", "i"),
    ("proxy_done", ""),
    ("proxy_get_shared_data", "iiiii"),
    ("proxy_set_shared_data", "iiiii"),
    ("proxy_register_shared_queue", "iii"),
    ("proxy_resolve_shared_queue", "iiiii"),
    ("proxy_enqueue_shared_queue", "iii"),
    ("proxy_dequeue_shared_queue", "iii"),
    ("proxy_get_header_map_value", "iiiii"),
    ("proxy_get_header_map_pairs", "iii"),
    ("proxy_get_header_map_size", "ii"),
    ("proxy_set_header_map_pairs", "iii"),
    ("proxy_add_header_map_value", "iiiii"),
    ("proxy_replace_header_map_value", "iiiii"),
    ("proxy_remove_header_map_value", "iii"),
    ("proxy_get_buffer_bytes", "iiiii"),
    ("proxy_get_buffer_status", "iii"),
    ("proxy_set_buffer_bytes", "iiiii"),
    ("proxy_send_local_response", "iiiiiiii"),
    ("proxy_continue_stream", "i"),
    ("proxy_close_stream", "i"),
    ("proxy_http_call", "iiiiiiiiii"),
    ("proxy_define_metric", "iiii"),
    ("proxy_increment_metric", "il"),
    ("proxy_record_metric", "il"),
    ("proxy_get_metric", "ii"),
    ("proxy_call_foreign_function", "iiiiii"),
];

const BODY: &str = include_str!("../../guests/probe.wat");

// === impl Case ===

impl Case {
    /// Calls in on_request_headers whose every result must be the same.
    pub fn new(name: impl Into<String>, calls: impl Into<Vec<Call>>) -> Self {
        let (name, calls) = (name.into(), calls.into());
        Self { name, phase: Phase::RequestHeaders, calls, answers: false, rule: Rule::Exact }
    }

    /// The same in another callback.
    #[must_use]
    pub fn on(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// The same, compared by another rule.
    #[must_use]
    pub fn by(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    /// The same, where the calls answer the request.
    #[must_use]
    pub fn answering(mut self) -> Self {
        self.answers = true;
        self
    }

    /// The path that runs this case of a module made by [`module`].
    pub fn path(&self, index: usize) -> String {
        let phase = match self.phase {
            Phase::RequestHeaders => 'h',
            Phase::RequestBody => 'b',
            Phase::ResponseHeaders => 'r',
        };
        format!("/{phase}{index}")
    }
}

// === impl Call ===

impl Call {
    /// A hostcall by its name.
    pub fn new(function: &'static str, arguments: impl Into<Vec<Argument>>) -> Self {
        Self { function, arguments: arguments.into() }
    }
}

/// The module that makes the calls of these cases, as text of WebAssembly.
pub fn module(cases: &[Case]) -> String {
    let mut text = String::from("(module\n");
    for (name, parameters) in SIGNATURES {
        let parameters: String =
            parameters.chars().map(|kind| if kind == 'i' { " i32" } else { " i64" }).collect();
        writeln!(text, "(import \"env\" \"{name}\" (func ${name} (param{parameters}) (result i32)))")
            .expect("a string takes text");
    }
    text += BODY;
    let mut literals = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        write!(text, "(func $case_{index} (call $begin)").expect("a string takes text");
        for call in &case.calls {
            let arguments: Vec<String> =
                call.arguments.iter().map(|argument| argument.to_wat(&mut literals)).collect();
            write!(text, "\n  (call $record (call ${} {}))", call.function, arguments.join(" "))
                .expect("a string takes text");
        }
        text += ")\n";
    }
    let names: String = (0..cases.len()).map(|index| format!(" $case_{index}")).collect();
    let data: String = literals.iter().map(|byte| format!("\\{byte:02x}")).collect();
    text + &format!("(table funcref (elem{names}))\n(data (i32.const {LITERALS_AT}) \"{data}\"))\n")
}

// === impl Argument ===

impl Argument {
    fn to_wat(&self, literals: &mut Vec<u8>) -> String {
        match self {
            Argument::Int(number) => format!("(i32.const {number})"),
            Argument::Long(number) => format!("(i64.const {number})"),
            Argument::Bytes(bytes) => {
                let at = LITERALS_AT + literals.len();
                literals.extend_from_slice(bytes);
                format!("(i32.const {at}) (i32.const {})", bytes.len())
            }
            Argument::GivesBytes => format!("(i32.const {BYTES_AT}) (i32.const {})", BYTES_AT + 4),
            Argument::GivesWord => format!("(i32.const {WORD_AT})"),
            Argument::GivesNumber => format!("(i32.const {NUMBER_AT})"),
            Argument::LastWord => format!("(i32.load (i32.const {LAST_WORD_AT}))"),
            Argument::Outside => format!("(i32.const {OUTSIDE})"),
            Argument::OutsideBytes => format!("(i32.const {OUTSIDE}) (i32.const 4)"),
        }
    }
}
