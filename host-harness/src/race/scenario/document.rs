//! The shape of a scenario file: the keys, and what kind of value each takes. What the values mean is in `resolve`.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Document {
    pub(super) scenario: String,
    #[serde(default)]
    pub(super) about: String,
    pub(super) module: String,
    pub(super) expect: Option<Expect>,
    pub(super) workers: Option<usize>,
    pub(super) vm_id: Option<String>,
    #[serde(default)]
    pub(super) seed: u64,
    pub(super) failure_policy: Option<FailurePolicy>,
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

/// What is judged in every scenario, by the name that its findings have.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tolerated {
    Trap,
    Crossing,
    Views,
    Growth,
    Livelock,
    TickStarvation,
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
    pub(super) configuration: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) answers: Vec<Reply>,
    #[serde(default)]
    pub(super) paths: Entries<Vec<Reply>>,
}

/// A cluster's answer: a mapping, or the outcome's name alone.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    pub(super) status: Option<Status>,
    pub(super) headers: Headers,
    pub(super) body: Option<String>,
    pub(super) bundle: Option<Bundle>,
    pub(super) trailers: Headers,
    pub(super) after: Time,
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
    pub(super) request: Option<String>,
    pub(super) worker: Option<usize>,
    pub(super) leaves_after: Option<Time>,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) authority: Option<String>,
    #[serde(default)]
    pub(super) headers: Headers,
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) trailers: Headers,
    pub(super) protocol: Option<Protocol>,
    pub(super) chunk_size: Option<usize>,
    pub(super) chunk_interval: Option<Time>,
    #[serde(default)]
    pub(super) properties: Entries<String>,
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
    pub(super) at: Time,
    pub(super) cluster: String,
    pub(super) path: Option<String>,
    pub(super) answers: Vec<Reply>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ConfigureEvent {
    pub(super) at: Time,
    pub(super) configure: String,
    pub(super) configuration: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RemoveEvent {
    pub(super) at: Time,
    pub(super) remove: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct TrapEvent {
    pub(super) at: Time,
    pub(super) trap: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct StallEvent {
    pub(super) at: Time,
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
    pub(super) bounded: Option<Bounded>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Bounded {
    pub(super) from: Time,
    pub(super) until: Time,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub(super) struct Must {
    pub(super) always: Vec<Always>,
    pub(super) eventually: Vec<Eventually>,
    pub(super) at_most: Vec<AtMost>,
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
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct When {
    pub(super) request: String,
    pub(super) status: Option<Status>,
    pub(super) body: Option<String>,
    pub(super) contains: Option<String>,
    #[serde(default)]
    pub(super) headers: Entries<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Answer {
    pub(super) status: Option<Status>,
    pub(super) body: Option<String>,
    pub(super) contains: Option<String>,
    #[serde(default)]
    pub(super) headers: Entries<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct AtMost {
    pub(super) cluster: Option<String>,
    pub(super) path: Option<String>,
    pub(super) calls: Option<usize>,
    pub(super) traps: Option<usize>,
}

/// `10ms`, `1.5s`, `1m 30s`
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Time(pub(super) Duration);

/// An HTTP status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Status(pub(super) u16);

/// A mapping in the order of the file. That no key comes twice was seen when the text was read.
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<(String, T)>);

/// Headers in order: a name with its text, or with a list of texts when it comes more than once.
#[derive(Debug, Default)]
pub(super) struct Headers(pub(super) Vec<(String, String)>);

// === impl Time ===

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Time;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a duration such as `10ms` or `1.5s`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                // `0` has no unit to be wrong about, and this parser takes it.
                humantime::parse_duration(text)
                    .map(Time)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

// === impl Status ===

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Status;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an HTTP status from 100 to 599")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Status, E> {
                u16::try_from(number)
                    .ok()
                    .filter(|status| (100..600).contains(status))
                    .map(Status)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_u64(Number)
    }
}

// === impl Entries ===

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Mapping<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Mapping<T> {
            type Value = Entries<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Mapping(PhantomData))
    }
}

// === impl Headers ===

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = Entries::<Values>::deserialize(deserializer)?;
        let each = named
            .0
            .into_iter()
            .flat_map(|(name, Values(values))| values.into_iter().map(move |v| (name.clone(), v)));
        Ok(Headers(each.collect()))
    }
}

struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Values;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = items.next_element()? {
                    values.push(value);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
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
            body: Option<String>,
            bundle: Option<Bundle>,
            #[serde(default)]
            trailers: Headers,
            #[serde(default)]
            after: Time,
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
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reply, A::Error> {
                let Whole { outcome, status, headers, body, bundle, trailers, after } =
                    Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Reply { outcome, status, headers, body, bundle, trailers, after })
            }
        }
        deserializer.deserialize_any(NameOrMapping)
    }
}
