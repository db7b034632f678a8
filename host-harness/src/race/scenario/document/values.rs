//! Values that stand in several places of a scenario file.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// `10ms`, `1.5s`, `1m 30s`
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::race::scenario) struct Time(pub(in crate::race::scenario) Duration);

/// An HTTP status.
#[derive(Debug, Clone, Copy)]
pub(in crate::race::scenario) struct Status(pub(in crate::race::scenario) u16);

/// A body: text, or bytes in base64 or hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::race::scenario) enum Content {
    Text(String),
    Encoded { base64: Option<String>, hex: Option<String> },
}

/// What a part of an answer must be: as in [`Content`], or what stands in the answer to another request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::race::scenario) enum Expected {
    Text(String),
    Encoded { base64: Option<String>, hex: Option<String>, of: Option<String>, header: Option<String> },
}

/// A mapping in the order of the file. That no key comes twice was seen when the text was read.
#[derive(Debug)]
pub(in crate::race::scenario) struct Entries<T>(pub(in crate::race::scenario) Vec<(String, T)>);

/// Headers in order: a name with its text, or with a list of texts when it comes more than once.
#[derive(Debug, Default)]
pub(in crate::race::scenario) struct Headers(pub(in crate::race::scenario) Vec<(String, String)>);

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

// === impl Content ===

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            base64: Option<String>,
            hex: Option<String>,
        }

        struct TextOrMapping;
        impl<'de> Visitor<'de> for TextOrMapping {
            type Value = Content;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string (or a mapping with `base64` or `hex`)")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
                let Whole { base64, hex } = Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Content::Encoded { base64, hex })
            }
        }
        deserializer.deserialize_any(TextOrMapping)
    }
}

// === impl Expected ===

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            base64: Option<String>,
            hex: Option<String>,
            of: Option<String>,
            header: Option<String>,
        }

        struct TextOrMapping;
        impl<'de> Visitor<'de> for TextOrMapping {
            type Value = Expected;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string (or a mapping with `base64`, `hex` or `of`)")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expected, E> {
                Ok(Expected::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expected, A::Error> {
                let Whole { base64, hex, of, header } = Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Expected::Encoded { base64, hex, of, header })
            }
        }
        deserializer.deserialize_any(TextOrMapping)
    }
}
