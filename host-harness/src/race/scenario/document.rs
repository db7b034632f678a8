//! The shape of a scenario file: the keys, and what kind of value each takes. What the values mean is in `resolve`.

mod values;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        self, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

pub(super) use values::{Content, Entries, Expected, Headers, Status, Time};

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Document {
    pub(super) scenario: String,
    #[serde(default)]
    pub(super) about: String,
    pub(super) module: Option<String>,
    pub(super) expect: Option<Expect>,
    pub(super) workers: Option<usize>,
    pub(super) vm_id: Option<String>,
    #[serde(default)]
    pub(super) seed: u64,
    pub(super) failure_policy: Option<FailurePolicy>,
    pub(super) allow_on_headers_stop_iteration: Option<bool>,
    pub(super) configuration: Option<serde_json::Value>,
    pub(super) plugins: Option<Vec<Plugin>>,
    #[serde(default)]
    pub(super) variants: Entries<Variant>,
    #[serde(default)]
    pub(super) clusters: Entries<Cluster>,
    /// Read once more, each by its kind.
    #[serde(default)]
    pub(super) events: Vec<yaml_serde::Value>,
    #[serde(default)]
    pub(super) faults: Faults,
    #[serde(default)]
    pub(super) bounds: Bounds,
    #[serde(default)]
    pub(super) must: Must,
    #[serde(default)]
    pub(super) serializable: bool,
    #[serde(default)]
    pub(super) tolerate: Vec<Tolerated>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Expect {
    Broken,
    Clean,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum FailurePolicy {
    #[serde(rename = "fail_closed")]
    Closed,
    #[serde(rename = "fail_open")]
    Open,
    #[serde(rename = "fail_reload")]
    Reload,
}

/// What is checked in every scenario, by the name that its findings have.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tolerated {
    Trap,
    Crossing,
    Views,
    Growth,
    Livelock,
    TickStarvation,
    LostUpdate,
    LostItem,
    LateRefusal,
    StuckStream,
    CallLeak,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) configuration: Option<serde_json::Value>,
    #[serde(default)]
    pub(super) singleton: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Variant {
    pub(super) about: Option<String>,
    pub(super) expect: Option<Expect>,
    pub(super) module: Option<String>,
    pub(super) configuration: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) answers: Vec<Reply>,
    #[serde(default)]
    pub(super) carrying: Entries<Vec<Reply>>,
    #[serde(default)]
    pub(super) paths: Entries<PathAnswers>,
    #[serde(default)]
    pub(super) grpc: Entries<Vec<GrpcReply>>,
}

/// The answers of a path: a list for every method, or a list for each.
#[derive(Debug)]
pub(super) enum PathAnswers {
    EveryMethod(Vec<Reply>),
    ByMethod(Entries<Vec<Reply>>),
}

/// A cluster's answer: a mapping, or the outcome's name alone.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    pub(super) status: Option<Status>,
    pub(super) headers: Headers,
    pub(super) body: Option<Content>,
    pub(super) bundle: Option<Bundle>,
    pub(super) trailers: Headers,
    pub(super) after: Time,
    pub(super) echo: bool,
}

/// What a gRPC method answers: a mapping, or the outcome's name alone.
#[derive(Debug, Default)]
pub(super) struct GrpcReply {
    pub(super) outcome: GrpcOutcome,
    pub(super) to: To,
    pub(super) headers: Headers,
    pub(super) messages: Vec<Content>,
    pub(super) status: Option<u32>,
    pub(super) status_message: Option<String>,
    pub(super) trailers: Headers,
    pub(super) http_status: Option<Status>,
    pub(super) after: Time,
    pub(super) every: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GrpcOutcome {
    #[default]
    Response,
    Open,
    Never,
    Refused,
    ConnectFailure,
    Reset,
    ResetBeforeHeaders,
}

/// What in an exchange a gRPC server answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum To {
    #[default]
    Begin,
    Message,
    End,
}

/// A bundle as it is before it becomes an archive.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Bundle {
    pub(super) revision: Option<String>,
    pub(super) roots: Option<Vec<String>>,
    #[serde(default)]
    pub(super) files: Entries<serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    #[default]
    Response,
    Never,
    Refused,
    ConnectFailure,
    Reset,
    ResetBeforeHeaders,
}

/// A request of an event; in a rule, the same without the keys that only events have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Request {
    pub(super) at: Option<Time>,
    pub(super) after: Option<After>,
    pub(super) request: Option<String>,
    pub(super) label: Option<String>,
    pub(super) worker: Option<usize>,
    pub(super) leaves_after: Option<Time>,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) authority: Option<String>,
    #[serde(default)]
    pub(super) headers: Headers,
    pub(super) body: Option<Content>,
    #[serde(default)]
    pub(super) trailers: Headers,
    pub(super) protocol: Option<Protocol>,
    pub(super) chunk_size: Option<usize>,
    pub(super) chunk_interval: Option<Time>,
    #[serde(default)]
    pub(super) properties: Entries<String>,
}

/// What an event waits for: a mapping, or the name of a request alone.
#[derive(Debug, Clone)]
pub(super) struct After {
    pub(super) request: String,
    pub(super) has: Has,
    pub(super) delay: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Has {
    Begun,
    #[default]
    Ended,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct AnswersEvent {
    pub(super) at: Option<Time>,
    pub(super) after: Option<After>,
    pub(super) cluster: String,
    pub(super) path: Option<String>,
    pub(super) method: Option<String>,
    pub(super) answers: Vec<Reply>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct GrpcAnswersEvent {
    pub(super) at: Option<Time>,
    pub(super) after: Option<After>,
    pub(super) cluster: String,
    pub(super) grpc: String,
    pub(super) answers: Vec<GrpcReply>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ConfigureEvent {
    pub(super) at: Option<Time>,
    pub(super) after: Option<After>,
    pub(super) configure: String,
    pub(super) configuration: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RemoveEvent {
    pub(super) at: Option<Time>,
    pub(super) after: Option<After>,
    pub(super) remove: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct TrapEvent {
    pub(super) at: Option<Time>,
    pub(super) after: Option<After>,
    pub(super) trap: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct StallEvent {
    pub(super) at: Option<Time>,
    pub(super) after: Option<After>,
    pub(super) stall: String,
    #[serde(rename = "for")]
    pub(super) span: Time,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub(super) struct Faults {
    pub(super) resets: u32,
    pub(super) refusals: u32,
    pub(super) timeouts: u32,
    pub(super) connect_failures: u32,
    pub(super) duplicates: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Bounds {
    pub(super) until: Option<Time>,
    pub(super) settle: Option<Time>,
    pub(super) slack: Option<Time>,
    pub(super) steps: Option<usize>,
    pub(super) clock_step: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub(super) struct Must {
    pub(super) always: Vec<Always>,
    pub(super) eventually: Vec<Eventually>,
    pub(super) at_most: Vec<AtMost>,
    pub(super) same: Vec<Same>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Always {
    pub(super) when: Option<When>,
    pub(super) request: Option<String>,
    pub(super) requests: Option<Vec<String>>,
    pub(super) never: Option<Answer>,
    pub(super) answer: Option<Answer>,
    pub(super) one_of: Option<Vec<Answer>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Eventually {
    pub(super) when: Option<When>,
    pub(super) workers: Option<Vec<usize>>,
    pub(super) request: Option<Request>,
    pub(super) answer: Option<Answer>,
    pub(super) agree: Option<Request>,
    #[serde(default)]
    pub(super) without: Vec<Without>,
}

/// What workers need not agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Without {
    Headers,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct When {
    pub(super) request: String,
    pub(super) status: Option<Status>,
    pub(super) body: Option<Expected>,
    pub(super) contains: Option<Expected>,
    #[serde(default)]
    pub(super) headers: Entries<Expected>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Answer {
    pub(super) status: Option<Status>,
    pub(super) body: Option<Expected>,
    pub(super) contains: Option<Expected>,
    #[serde(default)]
    pub(super) headers: Entries<Expected>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct AtMost {
    pub(super) cluster: Option<String>,
    pub(super) path: Option<String>,
    pub(super) method: Option<String>,
    pub(super) calls: Option<usize>,
    pub(super) traps: Option<usize>,
    pub(super) thread: Option<String>,
    pub(super) ticks: Option<usize>,
    pub(super) queue: Option<String>,
    pub(super) items: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Same {
    pub(super) requests: Option<Vec<String>>,
    pub(super) label: Option<String>,
    pub(super) parts: Option<Vec<Part>>,
    pub(super) headers: Option<Vec<String>>,
}

/// A part of an answer beside its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    Status,
    Body,
}

// === impl Reply ===

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            #[serde(default)]
            outcome: Outcome,
            status: Option<Status>,
            #[serde(default)]
            headers: Headers,
            body: Option<Content>,
            bundle: Option<Bundle>,
            #[serde(default)]
            trailers: Headers,
            #[serde(default)]
            after: Time,
            #[serde(default)]
            echo: bool,
        }

        struct NameOrMapping;
        impl<'de> Visitor<'de> for NameOrMapping {
            type Value = Reply;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a mapping, or an outcome such as `never`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Reply, E> {
                let outcome = Outcome::deserialize(de::value::StrDeserializer::new(name))?;
                Ok(Reply {
                    outcome,
                    status: None,
                    headers: Headers::default(),
                    body: None,
                    bundle: None,
                    trailers: Headers::default(),
                    after: Time::default(),
                    echo: false,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reply, A::Error> {
                let Whole { outcome, status, headers, body, bundle, trailers, after, echo } =
                    Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Reply { outcome, status, headers, body, bundle, trailers, after, echo })
            }
        }
        deserializer.deserialize_any(NameOrMapping)
    }
}

// === impl GrpcReply ===

impl<'de> Deserialize<'de> for GrpcReply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            #[serde(default)]
            outcome: GrpcOutcome,
            #[serde(default)]
            to: To,
            #[serde(default)]
            headers: Headers,
            #[serde(default)]
            messages: Vec<Content>,
            status: Option<u32>,
            status_message: Option<String>,
            #[serde(default)]
            trailers: Headers,
            http_status: Option<Status>,
            #[serde(default)]
            after: Time,
            #[serde(default)]
            every: Time,
        }

        struct NameOrMapping;
        impl<'de> Visitor<'de> for NameOrMapping {
            type Value = GrpcReply;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a mapping, or an outcome such as `never`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<GrpcReply, E> {
                let outcome = GrpcOutcome::deserialize(de::value::StrDeserializer::new(name))?;
                Ok(GrpcReply { outcome, ..GrpcReply::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GrpcReply, A::Error> {
                let Whole {
                    outcome,
                    to,
                    headers,
                    messages,
                    status,
                    status_message,
                    trailers,
                    http_status,
                    after,
                    every,
                } = Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(GrpcReply {
                    outcome,
                    to,
                    headers,
                    messages,
                    status,
                    status_message,
                    trailers,
                    http_status,
                    after,
                    every,
                })
            }
        }
        deserializer.deserialize_any(NameOrMapping)
    }
}

// === impl PathAnswers ===

impl<'de> Deserialize<'de> for PathAnswers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrMapping;
        impl<'de> Visitor<'de> for ListOrMapping {
            type Value = PathAnswers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of answers, or a mapping from methods to such lists")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<PathAnswers, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(PathAnswers::EveryMethod)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PathAnswers, A::Error> {
                Entries::deserialize(MapAccessDeserializer::new(map)).map(PathAnswers::ByMethod)
            }
        }
        deserializer.deserialize_any(ListOrMapping)
    }
}

// === impl After ===

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            request: String,
            #[serde(default)]
            has: Has,
            #[serde(default)]
            delay: Time,
        }

        struct NameOrMapping;
        impl<'de> Visitor<'de> for NameOrMapping {
            type Value = After;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string with the name of a request, or a mapping")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<After, E> {
                Ok(After { request: name.to_owned(), has: Has::default(), delay: Time::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<After, A::Error> {
                let Whole { request, has, delay } = Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(After { request, has, delay })
            }
        }
        deserializer.deserialize_any(NameOrMapping)
    }
}
