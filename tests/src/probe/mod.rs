//! A guest that makes the hostcalls of a table and tells what each of them returned.
//!
//! The module is generated: one function for each case, chosen by the path, so that it needs no interpreter and a case
//! stays literal. `/h3` runs case 3 in on_request_headers, `/b3` at the end of the request's body, `/r3` in
//! on_response_headers. `/s3` tells case 3 as a [`Story`]: every callback of its stream and of the root context is in
//! the trace, with the calls that the case makes there; `/o0` is another request meanwhile. `/t0` gives the trace so far, again and again.

pub mod body_cases;
pub mod boot_cases;
pub mod call_cases;
pub mod cases;
pub mod context_cases;
pub mod header_cases;
pub mod phase_cases;
pub mod property_cases;
pub mod queue_cases;
pub mod reply_cases;
pub mod shared_cases;
pub mod sides;
pub mod tick_cases;
mod trace;
pub mod upstream;

use std::fmt::Write;

pub use trace::{Line, Rule, differences, parse, until};

/// Places of results: bytes (pointer and size), a word, a number; and the last word that was not 0.
const BYTES_AT: u32 = 16;
const WORD_AT: u32 = 24;
const NUMBER_AT: u32 = 32;
const LAST_WORD_AT: u32 = 48;
/// Where the literals of the table lie.
const LITERALS_AT: usize = 4096;
/// Where the guest keeps its trace.
const TRACE_AT: usize = 262_144;
/// A place outside of every memory that the guest has.
const OUTSIDE: u32 = 0x7fff_0000;

/// What is asked of a host.
#[derive(Debug, Clone)]
pub struct Case {
    /// Family and fact, unique.
    pub name: String,
    /// Where calls are made, and which.
    pub steps: Vec<Step>,
    /// What the client does; `None` when one callback makes calls and gives their trace at once.
    pub story: Option<Story>,
    /// How values that differ by nature are compared.
    pub rule: Rule,
}

/// Calls that are made in one callback.
#[derive(Debug, Clone)]
pub struct Step {
    /// The callback.
    pub phase: Phase,
    /// Which one of its kind, counted from 0; `None` is each.
    pub nth: Option<u32>,
    /// The calls, in order.
    pub calls: Vec<Call>,
    /// What the callback returns; 0 goes on.
    pub action: u32,
}

/// A request whose every callback is told, and what its client does.
#[derive(Debug, Clone)]
pub struct Story {
    /// The body, in parts; each is sent when the guest has seen the one before.
    pub body: Vec<Vec<u8>>,
    /// Trailers of the request.
    pub trailers: Vec<(&'static str, &'static str)>,
    /// Headers beside the ones that every request has.
    pub headers: Vec<(&'static str, &'static str)>,
    /// How the upstream answers, by its name in [`upstream::ANSWERS`].
    pub answer: &'static str,
    /// The callback at which another request comes, and how many of them it waits for.
    pub other: Option<(Phase, usize)>,
    /// The callback at which the client goes away, and how many of them it waits for.
    pub leaves: Option<(Phase, usize)>,
    /// The callback that ends the story, and how many of them there are.
    pub until: (Phase, usize),
    /// Whether what the client and the upstream saw is compared, too.
    pub seen: bool,
}

/// A callback. The number is what a trace calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// on_request_headers
    RequestHeaders = 0,
    /// on_request_body; for a case without a story, at the body's end with the whole body buffered.
    RequestBody = 1,
    /// on_request_trailers
    RequestTrailers = 2,
    /// on_response_headers
    ResponseHeaders = 3,
    /// on_response_body
    ResponseBody = 4,
    /// on_response_trailers
    ResponseTrailers = 5,
    /// on_log
    Log = 6,
    /// on_done
    Done = 7,
    /// on_delete
    Delete = 8,
    /// on_tick
    Tick = 9,
    /// on_http_call_response
    HttpCallResponse = 10,
    /// on_queue_ready
    QueueReady = 11,
    /// on_vm_start
    VmStart = 12,
    /// on_configure
    Configure = 13,
    /// on_request_headers of another request, which then goes on.
    OtherRequestHeaders = 14,
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
    /// The context of the story's stream.
    Stream,
    /// A place outside of memory.
    Outside,
    /// Pointer and length of bytes outside of memory.
    OutsideBytes,
}

/// Every hostcall that a case may make, and its parameters: `i` is 32 bits and `l` is 64.
const SIGNATURES: [(&str, &str); 50] = [
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
    ("proxy_grpc_call", "iiiiiiiiiiii"),
    ("proxy_grpc_stream", "iiiiiiiii"),
    ("proxy_grpc_send", "iiii"),
    ("proxy_grpc_cancel", "i"),
    ("proxy_grpc_close", "i"),
    ("args_sizes_get", "ii"),
    ("clock_time_get", "ili"),
    ("environ_sizes_get", "ii"),
    ("fd_close", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_prestat_get", "ii"),
    ("fd_read", "iiii"),
    ("fd_write", "iiii"),
    ("path_open", "iiiiillii"),
    ("poll_oneoff", "iiii"),
    ("random_get", "ii"),
];

const BODY: &str = include_str!("../../guests/probe.wat");

// === impl Case ===

impl Case {
    /// Calls in on_request_headers whose every result must be the same.
    pub fn new(name: impl Into<String>, calls: impl Into<Vec<Call>>) -> Self {
        let step = Step { phase: Phase::RequestHeaders, nth: None, calls: calls.into(), action: 0 };
        Self { name: name.into(), steps: vec![step], story: None, rule: Rule::Exact }
    }

    /// A story of a GET that makes no calls yet.
    pub fn story(name: impl Into<String>) -> Self {
        Self { name: name.into(), steps: Vec::new(), story: Some(Story::default()), rule: Rule::Exact }
    }

    /// The same in another callback.
    #[must_use]
    pub fn on(mut self, phase: Phase) -> Self {
        for step in &mut self.steps {
            step.phase = phase;
        }
        self
    }

    /// The same, compared by another rule.
    #[must_use]
    pub fn by(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    /// The same as a story, in which the callback goes on.
    #[must_use]
    pub fn told(mut self) -> Self {
        self.story = Some(Story::default());
        self
    }

    /// The same with calls in each callback of a kind, which goes on.
    #[must_use]
    pub fn at(self, phase: Phase, calls: impl Into<Vec<Call>>) -> Self {
        self.step(phase, None, 0, calls)
    }

    /// The same with calls in each callback of a kind, which returns `action`.
    #[must_use]
    pub fn stop(self, phase: Phase, action: u32, calls: impl Into<Vec<Call>>) -> Self {
        self.step(phase, None, action, calls)
    }

    /// The same with calls in one callback of a kind, counted from 0.
    #[must_use]
    pub fn step(
        mut self,
        phase: Phase,
        nth: impl Into<Option<u32>>,
        action: u32,
        calls: impl Into<Vec<Call>>,
    ) -> Self {
        self.steps.push(Step { phase, nth: nth.into(), calls: calls.into(), action });
        self
    }

    /// The same with a body, in parts.
    #[must_use]
    pub fn body(mut self, parts: &[&str]) -> Self {
        self.tale().body = parts.iter().map(|part| part.as_bytes().to_vec()).collect();
        self
    }

    /// The same with trailers.
    #[must_use]
    pub fn trailers(mut self, trailers: &[(&'static str, &'static str)]) -> Self {
        self.tale().trailers = trailers.to_vec();
        self
    }

    /// The same with more headers.
    #[must_use]
    pub fn headers(mut self, headers: &[(&'static str, &'static str)]) -> Self {
        self.tale().headers = headers.to_vec();
        self
    }

    /// The same with another answer of the upstream.
    #[must_use]
    pub fn answer(mut self, answer: &'static str) -> Self {
        self.tale().answer = answer;
        self
    }

    /// The same, where another request comes at a callback.
    #[must_use]
    pub fn other(mut self, phase: Phase, count: usize) -> Self {
        self.tale().other = Some((phase, count));
        self
    }

    /// The same, where the client goes away at a callback.
    #[must_use]
    pub fn leaves(mut self, phase: Phase, count: usize) -> Self {
        self.tale().leaves = Some((phase, count));
        self
    }

    /// The same, ending with another callback.
    #[must_use]
    pub fn until(mut self, phase: Phase, count: usize) -> Self {
        self.tale().until = (phase, count);
        self
    }

    /// The same, where only the trace is compared.
    #[must_use]
    pub fn unseen(mut self) -> Self {
        self.tale().seen = false;
        self
    }

    /// Whether the calls are made before there are requests.
    pub fn is_at_boot(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.phase, Phase::VmStart | Phase::Configure))
    }

    /// The path that runs this case of a module made by [`module`].
    pub fn path(&self, index: usize) -> String {
        let phase = self.steps.first().map_or(Phase::RequestHeaders, |step| step.phase);
        match (&self.story, phase) {
            (Some(story), _) => format!("/s{index}?answer={}", story.answer),
            (None, Phase::RequestBody) => format!("/b{index}"),
            (None, Phase::ResponseHeaders) => format!("/r{index}"),
            (None, _) => format!("/h{index}"),
        }
    }

    fn tale(&mut self) -> &mut Story {
        self.story.get_or_insert_default()
    }

    /// The function that makes the calls: the callback's number and which of its kind it is in, the action out.
    fn to_wat(&self, index: usize, literals: &mut Vec<u8>) -> String {
        let mut text = format!("(func $case_{index} (param $phase i32) (param $nth i32) (result i32)");
        // A step for one callback comes before a step for each.
        let (one, each): (Vec<&Step>, Vec<&Step>) = self.steps.iter().partition(|step| step.nth.is_some());
        for step in one.into_iter().chain(each) {
            let phase = step.phase as u32;
            let mut condition = format!("(i32.eq (local.get $phase) (i32.const {phase}))");
            if let Some(nth) = step.nth {
                condition = format!("(i32.and {condition} (i32.eq (local.get $nth) (i32.const {nth})))");
            }
            write!(text, "\n (if {condition} (then").expect("a string takes text");
            for call in &step.calls {
                let arguments: Vec<String> =
                    call.arguments.iter().map(|argument| argument.to_wat(literals)).collect();
                write!(text, "\n  (call $record (call ${} {}))", call.function, arguments.join(" "))
                    .expect("a string takes text");
            }
            write!(text, "\n  (return (i32.const {}))))", step.action).expect("a string takes text");
        }
        text + "\n (i32.const 0))\n"
    }
}

// === impl Story ===

impl Default for Story {
    fn default() -> Self {
        Self {
            body: Vec::new(),
            trailers: Vec::new(),
            headers: Vec::new(),
            answer: "plain",
            other: None,
            leaves: None,
            until: (Phase::Delete, 1),
            seen: true,
        }
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
        let from = if name.starts_with("proxy_") { "env" } else { "wasi_snapshot_preview1" };
        writeln!(text, "(import \"{from}\" \"{name}\" (func ${name} (param{parameters}) (result i32)))")
            .expect("a string takes text");
    }
    text += BODY;
    let mut literals = Vec::new();
    let mut at_boot = String::new();
    for (index, case) in cases.iter().enumerate() {
        text += &case.to_wat(index, &mut literals);
        if case.is_at_boot() {
            write!(at_boot, "\n  (call $boot_case (local.get $phase) (i32.const {index}))")
                .expect("a string takes text");
        }
    }
    assert!(LITERALS_AT + literals.len() <= TRACE_AT, "{} bytes of literals", literals.len());
    let names: String = (0..cases.len()).map(|index| format!(" $case_{index}")).collect();
    let data: String = literals.iter().map(|byte| format!("\\{byte:02x}")).collect();
    text + &format!(
        "(func $boot (param $phase i32){at_boot})\n(table funcref (elem{names}))\n\
         (data (i32.const {LITERALS_AT}) \"{data}\"))\n"
    )
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
            Argument::Stream => "(global.get $stream)".to_owned(),
            Argument::Outside => format!("(i32.const {OUTSIDE})"),
            Argument::OutsideBytes => format!("(i32.const {OUTSIDE}) (i32.const 4)"),
        }
    }
}
