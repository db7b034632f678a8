//! The fields of `input` that a request can have, and which of them a policy reads.
//!
//! Source: opa-envoy-plugin, `envoyauth/request.go` over Envoy's `CheckRequest` v3 (Envoy
//! `source/extensions/filters/common/ext_authz/check_request_utils.cc`).

use std::collections::BTreeSet;

use super::{Reads, Value, string};
use crate::config::{InputConfig, SourceAddress};

/// What is fetched from the host, or made of the request, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputField {
    /// What the route and its virtual host say to policies.
    ContextExtensions,
    /// The address that the peer connected to.
    Destination,
    /// Identity in Envoy's own certificate.
    DestinationPrincipal,
    /// Envoy's dynamic metadata, of the namespaces that the configuration lists.
    MetadataContext,
    /// The headers, all or some.
    Headers,
    /// The body as text.
    Body,
    /// The body in Base64.
    RawBody,
    /// What the body's media type makes of it.
    ParsedBody,
    /// Whether the body is cut off.
    TruncatedBody,
    /// The same, among all the headers.
    PartialBody,
    /// `:authority`
    Host,
    /// `x-request-id`
    Id,
    /// `:method`
    Method,
    /// `:path`, with the query
    Path,
    /// `HTTP/1.1`
    Protocol,
    /// `:scheme`
    Scheme,
    /// `content-length`
    Size,
    /// When the request began.
    Time,
    /// The route's metadata, of the namespaces that the configuration lists.
    RouteMetadataContext,
    /// The peer's address.
    SourceAddress,
    /// The peer's certificate.
    SourceCertificate,
    /// The peer's port.
    SourcePort,
    /// Identity in the peer's certificate.
    SourcePrincipal,
    /// `x-envoy-downstream-service-cluster`
    SourceService,
    /// Server name that the peer asked for by TLS.
    ServerName,
    /// Segments of the path.
    ParsedPath,
    /// Values of the query.
    ParsedQuery,
    /// What this document is.
    Version,
}

/// Each path of `input`, in order; `*` stands for any name, and nothing is said of what is below.
const FIELDS: &[(&str, InputField)] = &[
    ("attributes.contextExtensions.*", InputField::ContextExtensions),
    ("attributes.destination.address.socketAddress.address", InputField::Destination),
    ("attributes.destination.address.socketAddress.portValue", InputField::Destination),
    ("attributes.destination.principal", InputField::DestinationPrincipal),
    ("attributes.metadataContext.filterMetadata.*", InputField::MetadataContext),
    ("attributes.request.http.body", InputField::Body),
    ("attributes.request.http.headers.*", InputField::Headers),
    ("attributes.request.http.host", InputField::Host),
    ("attributes.request.http.id", InputField::Id),
    ("attributes.request.http.method", InputField::Method),
    ("attributes.request.http.path", InputField::Path),
    ("attributes.request.http.protocol", InputField::Protocol),
    ("attributes.request.http.rawBody", InputField::RawBody),
    ("attributes.request.http.scheme", InputField::Scheme),
    ("attributes.request.http.size", InputField::Size),
    ("attributes.request.time.nanos", InputField::Time),
    ("attributes.request.time.seconds", InputField::Time),
    ("attributes.routeMetadataContext.filterMetadata.*", InputField::RouteMetadataContext),
    ("attributes.source.address.socketAddress.address", InputField::SourceAddress),
    ("attributes.source.address.socketAddress.portValue", InputField::SourcePort),
    ("attributes.source.certificate", InputField::SourceCertificate),
    ("attributes.source.principal", InputField::SourcePrincipal),
    ("attributes.source.service", InputField::SourceService),
    ("attributes.tlsSession.sni", InputField::ServerName),
    ("parsed_body.*", InputField::ParsedBody),
    ("parsed_path.*", InputField::ParsedPath),
    ("parsed_query.*.*", InputField::ParsedQuery),
    ("source_principal", InputField::SourcePrincipal),
    ("truncated_body", InputField::TruncatedBody),
    ("version.encoding", InputField::Version),
    ("version.ext_authz", InputField::Version),
];

/// What a request has to be read to its end for.
const BODY: &[InputField] = &[
    InputField::Body,
    InputField::RawBody,
    InputField::ParsedBody,
    InputField::TruncatedBody,
    InputField::PartialBody,
];
/// What is lost where a body is cut off.
const CONTENT: &[InputField] = &[InputField::Body, InputField::RawBody, InputField::ParsedBody];

/// Objects that every `input` has, so that nothing has to be fetched to know that they are there. The headers are not
/// among them: they are made where they are read, whatever is in them.
const ALWAYS_THERE: &[&[&str]] =
    &[&[], &["attributes"], &["attributes", "request"], &["attributes", "request", "http"]];

const HEADERS: &[&str] = &["attributes", "request", "http", "headers"];
/// The header that is a request's id.
const REQUEST_ID: &str = "x-request-id";
/// Paths that are looked at for warnings.
const MOST_PATHS: usize = 256;
/// Warnings that are told of one policy.
const MOST_WARNINGS: usize = 16;
/// Characters of a path in a warning.
const MOST_SHOWN: usize = 120;
/// The header by which Envoy tells its authorization service whether the body is cut off.
pub(crate) const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";
/// A policy that names more headers is given all.
const MOST_NAMED_HEADERS: usize = 64;

/// Those of opa-envoy-plugin, or of Envoy's message, alone: why, and what to use instead.
const ABSENT: &[(&str, &str)] = &[
    ("attributes.destination.certificate", "ext_authz does not send it either"),
    (
        "attributes.destination.labels",
        "a Wasm filter is not told labels of Envoy's bootstrap; write them into `labels` of the configuration, and read `opa.runtime().config.labels`",
    ),
    ("attributes.destination.service", "ext_authz does not send it either"),
    (
        "attributes.metadataContext.typedFilterMetadata",
        "typed metadata have no form in JSON here; let the filter that sets them set untyped ones",
    ),
    ("attributes.request.http.fragment", "Envoy refuses a path that has one"),
    (
        "attributes.request.http.headerMap",
        "headers come by name; read `input.attributes.request.http.headers`",
    ),
    ("attributes.request.http.query", "ext_authz leaves it empty too; read `input.parsed_query`"),
    (
        "attributes.routeMetadataContext.typedFilterMetadata",
        "typed metadata have no form in JSON here; write untyped ones",
    ),
    ("attributes.source.labels", "ext_authz does not send it either"),
];

/// Some of the fields: those that a policy can read, whatever the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFields {
    fields: u32,
    /// Which headers, sorted; none for all of them.
    headers: Option<Vec<String>>,
}

/// Where a policy reads something of `input`, as far as it can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReadPaths(Vec<Vec<String>>);

/// What `input` has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// It has it, if the request does.
    Known,
    /// opa-envoy-plugin has it, and the gate has not, because of this.
    Absent(&'static str),
    /// It never has it. What stands there beside the first step that is unknown, which has this position.
    Unknown {
        /// Position of the step in the path.
        at: usize,
        /// The names that stand there.
        known: Vec<&'static str>,
    },
}

/// Whether `input` can have something at a path of keys.
pub fn field(path: &[&str]) -> Field {
    if let Some((_, why)) = ABSENT.iter().find(|(known, _)| agreeing(known, path) == known.split('.').count())
    {
        return Field::Absent(why);
    }
    let known = || FIELDS.iter().map(|(known, _)| *known);
    let reaches = |known: &&str| {
        let agreed = agreeing(known, path);
        agreed == path.len() || agreed == known.split('.').count()
    };
    // What is below a text or a number is not there either; what is below `*` is not known.
    if known().any(|known| reaches(&known) && (known.ends_with('*') || agreeing(known, path) == path.len())) {
        return Field::Known;
    }
    let at = known().map(|known| agreeing(known, path)).max().unwrap_or_default();
    let mut beside: Vec<&str> = known()
        .filter(|known| agreeing(known, path) == at)
        .filter_map(|known| known.split('.').nth(at))
        .collect();
    beside.dedup();
    Field::Unknown { at, known: beside }
}

/// Why what stands at a path of `input` is never there with this configuration, if the reason is another than its name.
pub fn never_there(path: &[&str], config: &InputConfig) -> Option<String> {
    if let Field::Absent(why) = field(path) {
        return Some(why.to_owned());
    }
    if config.body.is_none() && names_body(path) {
        return Some("bodies are read with `portcullis.body` alone; add it".to_owned());
    }
    let ["attributes", context, rest @ ..] = path else { return None };
    let (key, listed) = match *context {
        "metadataContext" => ("metadata_context", &config.metadata_namespaces),
        "routeMetadataContext" => ("route_metadata_context", &config.route_metadata_namespaces),
        _ => return None,
    };
    match rest {
        ["filterMetadata", name, ..] if listed.iter().any(|known| known == name) => None,
        ["filterMetadata", name, ..] => {
            Some(format!("`portcullis.{key}.namespaces` does not list `{name}`; add it"))
        }
        _ if listed.is_empty() => {
            Some(format!("`portcullis.{key}.namespaces` lists none; name those that are read"))
        }
        _ => None,
    }
}

/// Whether a path is one of the body, not of more.
fn names_body(path: &[&str]) -> bool {
    let mut of_body = FIELDS.iter().filter(|(_, field)| BODY.contains(field));
    of_body.any(|(known, _)| {
        let known = known.trim_end_matches(".*");
        agreeing(known, path) == known.split('.').count()
    })
}

/// The paths of all fields.
#[cfg(test)]
pub(crate) fn known_paths() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(path, _)| *path)
}

/// How many steps of a path are those of a field.
fn agreeing(field: &str, path: &[&str]) -> usize {
    field.split('.').zip(path).take_while(|(known, step)| known == *step || *known == "*").count()
}

/// Whether keys and a path are the same as far as both go. A step that is no string is no key.
fn along<'a>(keys: impl IntoIterator<Item = &'a str>, path: &[Value]) -> bool {
    keys.into_iter().zip(path).all(|(key, step)| step.as_bytes() == Some(key.as_bytes()))
}

// === impl ReadPaths ===

impl ReadPaths {
    pub(crate) fn of(reads: &Reads) -> Self {
        let steps = |path: &[Value]| path.iter().map_while(string).map(str::to_owned).collect();
        Self(reads.input.iter().map(steps).take(MOST_PATHS).collect())
    }

    /// What is read in vain with this configuration, and what may be other than it seems: a sentence for each.
    pub(crate) fn warnings(&self, config: &InputConfig) -> Vec<String> {
        let mut warnings = BTreeSet::new();
        for path in &self.0 {
            let steps: Vec<&str> = path.iter().map(String::as_str).collect();
            let mut shown = ["input"].iter().chain(&steps).copied().collect::<Vec<_>>().join(".");
            if let Some((end, _)) = shown.char_indices().nth(MOST_SHOWN) {
                shown.truncate(end);
                shown.push('…');
            }
            if let Some(why) = never_there(&steps, config) {
                warnings.insert(format!("`{shown}` is never there: {why}"));
            } else if let Field::Unknown { known, .. } = field(&steps) {
                let beside = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                warnings.insert(format!("`{shown}` is never there: there is {beside}"));
            } else if config.source_address == SourceAddress::TrustedClient
                && steps.starts_with(&["attributes", "source", "address"])
            {
                warnings.insert(format!(
                    "`{shown}` is whom Envoy takes for the client: `portcullis check --envoy` says whether anybody can claim it"
                ));
            }
        }
        warnings.into_iter().take(MOST_WARNINGS).collect()
    }
}

// === impl InputFields ===

impl InputFields {
    /// Every field, for a policy of which nothing is known.
    pub fn all() -> Self {
        Self { fields: u32::MAX, headers: None }
    }

    /// Of a policy that reads the body and nothing else.
    #[cfg(test)]
    pub(crate) fn of_body_alone() -> Self {
        Self { fields: InputField::ParsedBody.bit(), headers: Some(Vec::new()) }
    }

    /// Those that have a part in what a policy answers. Where it asks for the time, or for chance, the request's time is one.
    pub fn of(reads: &Reads) -> Self {
        let mut fields = 0;
        for (path, field) in FIELDS {
            let along = |read: &[Value]| along(path.trim_end_matches(".*").split('.'), read);
            let is_read = reads.input.iter().any(along);
            // Something below is looked for, and whether the object is there depends on this field.
            let is_looked_for = |read: &&Vec<Value>| along(read) && !is_always_there(read);
            if is_read || reads.present.iter().any(|read| is_looked_for(&read)) {
                fields |= field.bit();
            }
        }
        // What `opa.runtime` answers is the same for all requests.
        if reads.outside.iter().any(|name| *name != "opa.runtime") {
            fields |= InputField::Time.bit();
        }
        let headers = named_headers(reads);
        // Who asks for it by name asks about the body.
        match &headers {
            Some(names) if names.iter().any(|name| name == PARTIAL_BODY) => {
                fields |= InputField::TruncatedBody.bit();
            }
            Some(_) => {}
            None => fields |= InputField::PartialBody.bit(),
        }
        Self { fields, headers }
    }

    /// Whether two requests may have the same ones. Not where the time is among them, and so whatever is not the request's
    /// own, or its id, which is among all the headers.
    pub fn may_recur(&self) -> bool {
        let is_id = |name: &String| name == REQUEST_ID;
        let named = self.headers.as_ref();
        !self.has(InputField::Time)
            && !self.has(InputField::Id)
            && named.is_some_and(|names| !names.iter().any(is_id))
    }

    /// Whether anything of the body is among them.
    pub fn has_body(&self) -> bool {
        BODY.iter().any(|field| self.has(*field))
    }

    /// Whether a body that is cut off can be decided by: who reads what is in it has to ask whether that is all.
    pub fn takes_part_of_body(&self) -> bool {
        self.has(InputField::TruncatedBody) || !CONTENT.iter().any(|field| self.has(*field))
    }

    /// Whether a field is one of them.
    pub fn has(&self, field: InputField) -> bool {
        self.fields & field.bit() != 0
    }

    /// The names of the headers, sorted; none where all are meant.
    pub fn headers(&self) -> Option<&[String]> {
        self.headers.as_deref()
    }
}

impl InputField {
    fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

fn is_always_there(path: &[Value]) -> bool {
    ALWAYS_THERE.iter().any(|object| object.len() == path.len() && along(object.iter().copied(), path))
}

/// The headers that are asked for by name, if none is asked for otherwise.
fn named_headers(reads: &Reads) -> Option<Vec<String>> {
    let of_headers = |path: &&[Value]| along(HEADERS.iter().copied(), path);
    if reads.input.iter().filter(of_headers).any(|path| path.len() <= HEADERS.len()) {
        return None;
    }
    let read = reads.input.iter().chain(reads.present.iter().map(Vec::as_slice)).filter(of_headers);
    // A key that is no text finds nothing.
    let names = read.filter_map(|path| string(path.get(HEADERS.len())?));
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    (names.len() <= MOST_NAMED_HEADERS).then(|| names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_README=1` writes it anew.
    #[test]
    fn the_readme_has_what_is_never_there() {
        const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        const MARKS: (&str, &str) = ("<!-- absent -->\n", "<!-- /absent -->");
        let readme = std::fs::read_to_string(PATH).unwrap();
        let (before, rest) = readme.split_once(MARKS.0).unwrap();
        let (written, after) = rest.split_once(MARKS.1).unwrap();
        let rows = ABSENT.iter().map(|(path, why)| format!("- `{path}`: {why}.\n"));
        let made = rows.collect::<String>();
        if std::env::var_os("UPDATE_README").is_some() {
            std::fs::write(PATH, [before, MARKS.0, &made, MARKS.1, after].concat()).unwrap();
        } else {
            assert!(written == made, "the table is not what the code says; UPDATE_README=1 writes it anew");
        }
    }

    #[test]
    fn metadata_are_there_where_the_configuration_lists_them() {
        let config = InputConfig { metadata_namespaces: vec!["jwt".to_owned()], ..InputConfig::default() };
        let told = |path: &str| never_there(&path.split('/').collect::<Vec<_>>(), &config);
        for path in
            ["attributes/metadataContext/filterMetadata/jwt/sub", "attributes/metadataContext", "attributes"]
        {
            assert_eq!(told(path), None, "{path}");
        }
        for (path, part) in [
            (
                "attributes/metadataContext/filterMetadata/rbac",
                "portcullis.metadata_context.namespaces` does not list `rbac`",
            ),
            (
                "attributes/routeMetadataContext/filterMetadata/jwt",
                "portcullis.route_metadata_context.namespaces` does not",
            ),
            ("attributes/routeMetadataContext/filterMetadata", "lists none"),
            ("attributes/request/http/query", "parsed_query"),
        ] {
            assert!(told(path).is_some_and(|why| why.contains(part)), "{path}: {:?}", told(path));
        }
    }

    #[test]
    fn warnings_are_few_and_short() {
        let of = |path: &[&str]| path.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>();
        let long = "é".repeat(10_000);
        let mut paths: Vec<Vec<String>> = (0..100).map(|n| of(&["attributes", &format!("x{n}")])).collect();
        paths.insert(0, of(&["a", &long]));
        let warnings = ReadPaths(paths).warnings(&InputConfig::default());
        assert_eq!(warnings.len(), MOST_WARNINGS);
        assert!(warnings.iter().all(|warning| warning.len() < 1000), "{warnings:?}");
        let address = ReadPaths(vec![of(&["attributes", "source", "address", "socketAddress", "address"])]);
        assert!(address.warnings(&InputConfig::default()).is_empty());
        let client = InputConfig { source_address: SourceAddress::TrustedClient, ..InputConfig::default() };
        assert_eq!(address.warnings(&client).len(), 1);
    }

    #[test]
    fn what_is_never_there_is_told_with_what_is() {
        for path in [&[][..], &["attributes"], &["parsed_path", "0"], &["parsed_query", "a", "0", "b"]] {
            assert_eq!(field(path), Field::Known, "{path:?}");
        }
        assert_eq!(field(&["attributes", "request", "http", "headers", "x"]), Field::Known);
        assert_eq!(field(&["parsed_body", "a"]), Field::Known);
        let (off, on) = (
            InputConfig::default(),
            InputConfig { body: Some(crate::config::BodyLimits::default()), ..InputConfig::default() },
        );
        for path in [
            &["parsed_body", "a"][..],
            &["parsed_body"],
            &["truncated_body"],
            &["attributes", "request", "http", "body"],
        ] {
            assert!(never_there(path, &off).is_some_and(|why| why.starts_with("bodies")), "{path:?}");
            assert_eq!(never_there(path, &on), None, "{path:?}");
        }
        assert_eq!(never_there(&["attributes", "request", "http"], &off), None);
        let Field::Unknown { at, known } = field(&["attributes", "request", "http", "metod"]) else {
            panic!()
        };
        assert!(at == 3 && known.contains(&"method") && !known.contains(&"address"), "{known:?}");
        let Field::Unknown { at, known } = field(&["user"]) else { panic!() };
        assert!(
            at == 0
                && known
                    == [
                        "attributes",
                        "parsed_body",
                        "parsed_path",
                        "parsed_query",
                        "source_principal",
                        "truncated_body",
                        "version"
                    ]
        );
    }
}
