//! That a decision is the same whether a request was fetched whole or in parts, and asked for the first time or again.
//!
//! Random policies over random requests. `PORTCULLIS_DECISIONS=1000000 cargo test --release -p portcullis-filter decisions_`
//! takes more of them; a failure prints its seed; `PORTCULLIS_SEED` is the first.

use super::*;
use crate::config::SourceAddress;
use crate::policy::{EvaluationLimits, Module, Part, RegoVersion, object};

/// What a rule may ask. Each names what it reads in a way of its own.
const CONDITIONS: &[&str] = &[
    r#"input.attributes.request.http.method == "GET""#,
    r#"input.attributes.request.http.path == "/a?q=1""#,
    r#"startswith(input.attributes.request.http.path, "/b")"#,
    r#"input.attributes.request.http.host == "one.example""#,
    r#"input.attributes.request.http.scheme == "https""#,
    r#"input.attributes.request.http.protocol == "HTTP/2""#,
    r#"input.attributes.request.http.id"#,
    r#"input.attributes.request.http.headers["x-role"] == "admin""#,
    r#"input.attributes.request.http.headers["x-two"] == "1,2""#,
    r#"input.attributes.request.http.headers.accept"#,
    r#"input.attributes.request.http.headers[":authority"] == "one.example""#,
    r#"h := input.attributes.request.http.headers; h["x-role"] == "user""#,
    r#"h := input.attributes.request.http.headers; not h.accept"#,
    r#"a := input.attributes.request.http.headers.accept"#,
    r#""b" in d"#,
    r#"count(input.attributes.request.http.headers) > 5"#,
    r#"some name, _ in input.attributes.request.http.headers; startswith(name, "x-t")"#,
    r#"input.attributes.request.http.headers[name] == "admin"; name != "x-role""#,
    r#"input.parsed_path[0] == "a""#,
    r#"input.parsed_path == ["a", "b"]"#,
    r#"["a", second] = input.parsed_path; second != "b""#,
    r#"count(input.parsed_path) == 1"#,
    r#"p := input.parsed_path; p[_] == "b""#,
    r#"p := input.parsed_path"#,
    r#"input.parsed_query.q[0] == "1""#,
    r#""2" in input.parsed_query.q"#,
    r#"not input.parsed_query.q"#,
    r#"count(input.parsed_query) == 0"#,
    r#"input.attributes.source.address.socketAddress.address == "10.0.0.1""#,
    r#"input.attributes.source.address.socketAddress.portValue > 1000"#,
    r#"net.cidr_contains("10.0.0.0/8", input.attributes.source.address.socketAddress.address)"#,
    r#"input.attributes.source"#,
    r#"not input.attributes.source"#,
    r#"not input.attributes.source.address"#,
    r#"s := input.attributes.source; s.principal"#,
    r#"s := input.attributes.source; not s.principal"#,
    r#"input.attributes.source.principal == "spiffe://a""#,
    r#"input.source_principal == "spiffe://b""#,
    r#"input.attributes.destination.address.socketAddress.portValue == 443"#,
    r#"not input.attributes.destination"#,
    r#"input.attributes.tlsSession.sni == "one.example""#,
    r#"not input.attributes.tlsSession"#,
    r#"object.get(input, ["attributes", "tlsSession", "sni"], "none") == "none""#,
    r#"input.attributes.request.time.seconds % 2 == 0"#,
    r#"t := input.attributes.request.time; t.nanos > 5"#,
    r#"time.now_ns() % 2 == 0"#,
    r#"input.attributes.metadataContext == {}"#,
    r#"input.attributes.metadataContext.filterMetadata.jwt.sub != input.attributes.routeMetadataContext.filterMetadata.jwt.sub"#,
    r#"input.attributes.metadataContext.filterMetadata; not input.attributes.routeMetadataContext.filterMetadata"#,
    r#"input.attributes.routeMetadataContext"#,
    r#"input.version.ext_authz == "v3""#,
    r#"input.version.encoding"#,
    r#"not input.truncated_body"#,
    r#"input.truncated_body == false"#,
    r#"input.parsed_body.a == 1"#,
    r#"b := input.parsed_body; b.list[_] == "x""#,
    r#"object.get(input.parsed_body, "a", 0) == 0"#,
    r#"contains(input.attributes.request.http.body, "a")"#,
    r#"not input.attributes.request.http.body"#,
    r#"input.attributes.request.http.rawBody == "YT0x""#,
    r#"input.attributes.metadataContext.filterMetadata.jwt.sub == "ada""#,
    r#"input.attributes.metadataContext == {}"#,
    r#"input.attributes.metadataContext.filterMetadata.jwt.sub != input.attributes.routeMetadataContext.filterMetadata.jwt.sub"#,
    r#"input.attributes.metadataContext.filterMetadata; not input.attributes.routeMetadataContext.filterMetadata"#,
    r#"input.attributes.routeMetadataContext.filterMetadata.route"#,
    r#"input.attributes.contextExtensions.team == "a""#,
    r#"input.attributes.contextExtensions == {"team": "b"}"#,
    r#"not input.attributes.contextExtensions.team"#,
    r#"opa.runtime().config"#,
    r#"input.parsed_body == null"#,
    r#"input.attributes.destination.principal == "spiffe://c""#,
    r#"input.attributes.source.certificate"#,
    r#"input.attributes.source.service == "shop""#,
    r#"input.attributes.tlsSession"#,
    r#"input.attributes.request.http.size > 5"#,
    r#"input.attributes.request.http"#,
    r#"input.attributes"#,
    r#"a := input.attributes.request; a.http.method == "PUT""#,
    r#"input[key].request.http.method == "GET""#,
    r#"some key; input[key]; key == "source_principal""#,
    r#"count(input) > 4"#,
    r#"walk(input, [path, "admin"])"#,
    r#"json.filter(input, ["parsed_path"]) == {"parsed_path": ["a"]}"#,
    r#"every segment in input.parsed_path { segment != "" }"#,
    r#"of_method("GET")"#,
    r#"http.method == "PUT""#,
    r#"http.headers.accept"#,
    r#"role == "admin""#,
    r#"not role"#,
    r#"h := http.headers; h["x-two"]"#,
    r#"object.get(http.headers, "x-role", "none") == "none""#,
    r#"object.get(input.attributes.source, "principal", "none") == "none""#,
    r#"object.get(http, ["headers", "x-two"], 0) == "1""#,
    r#"source_address"#,
    r#"is_read"#,
    r#"is_read with input.attributes.request.http.method as "GET""#,
    r#"is_read with input as {"attributes": {"request": {"http": {"method": "GET"}}}}"#,
];

/// What routes, and virtual hosts, say.
const ROUTES: &[&str] = &[
    r#"{"portcullis": {"context_extensions": {"team": "a"}}}"#,
    r#"{"portcullis": {"context_extensions": {"team": "b"}}, "route": {"x": 1}}"#,
    r#"{"portcullis": {"context_extensions": {"team": 7}}}"#,
    r#"{"route": {"x": 2}}"#,
    r#"{"jwt": {"sub": "ada"}}"#,
];

/// What a policy may answer.
const ANSWERS: &[&str] = &[
    "true",
    "false",
    r#"{"allowed": true, "headers": {"x-path": input.attributes.request.http.path}}"#,
    r#"{"allowed": false, "body": input.attributes.request.http.headers["x-role"]}"#,
    r#"{"allowed": false, "http_status": 401, "headers": {"x-n": sprintf("%v", [count(input.parsed_path)])}}"#,
    r#"{"allowed": true, "dynamic_metadata": input.attributes.source}"#,
    r#"{"allowed": true, "query_parameters_to_set": {"q": "9"}}"#,
];

struct Given {
    head: RequestHead,
    body: Vec<u8>,
    connection: Connection,
}

impl Request for Given {
    fn head(&self) -> Option<RequestHead> {
        Some(self.head.clone())
    }

    fn body(&self, most: usize) -> Option<Vec<u8>> {
        Some(self.body.iter().copied().take(most).collect())
    }

    /// As the shell does it: what is not asked for is not there.
    fn connection(&self, fields: &Asked<'_>) -> Connection {
        use crate::policy::InputField as F;
        let Connection {
            source,
            destination,
            source_principal,
            source_certificate,
            destination_principal,
            requested_server_name,
            protocol,
            time_ns,
            peer,
            metadata,
            route_metadata,
            virtual_host_metadata,
        } = self.connection.clone();
        let asked = |field| fields.has(field).then_some(());
        Connection {
            source: asked(F::SourceAddress).or(asked(F::SourcePort)).and(source),
            destination: asked(F::Destination).and(destination),
            source_principal: asked(F::SourcePrincipal).and(source_principal),
            source_certificate: asked(F::SourceCertificate).and(source_certificate),
            destination_principal: asked(F::DestinationPrincipal).and(destination_principal),
            requested_server_name: asked(F::ServerName).and(requested_server_name),
            protocol: asked(F::Protocol).and(protocol),
            time_ns: asked(F::Time).and(time_ns),
            peer: asked(F::SourceAddress).or(asked(F::SourcePort)).and(peer),
            metadata: asked(F::MetadataContext).and(metadata),
            route_metadata: asked(F::ContextExtensions)
                .or(asked(F::RouteMetadataContext))
                .and(route_metadata),
            virtual_host_metadata: asked(F::ContextExtensions).and(virtual_host_metadata),
        }
    }
}

fn one<T: Copy>(random: &mut fastrand::Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

fn policy(random: &mut fastrand::Rng) -> (String, Policy) {
    let mut text = "package a\nimport rego.v1\n\
        of_method(m) if input.attributes.request.http.method == m\n\
        http := input.attributes.request.http\n\
        role := http.headers[\"x-role\"]\n\
        source_address := input.attributes.source.address if input.parsed_query.q\n\
        is_read if input.attributes.request.http.method == \"GET\"\n\
        d := [] if input.attributes.request.http.method == \"PUT\"\n\
        default d := [segment | some segment in input.parsed_path]\n"
        .to_owned();
    if random.bool() {
        text.push_str("default answer := false\n");
    }
    let (mut rule, mut helpers) = ("answer := ".to_owned(), 0);
    for branch in 0..random.usize(1..4) {
        if branch > 0 {
            rule.push_str(" else := ");
        }
        rule.push_str(one(random, ANSWERS));
        rule.push_str(" if {\n");
        for _ in 0..random.usize(1..4) {
            let condition = one(random, CONDITIONS);
            // What binds a name stands in a rule of its own, so that no other condition means the same name.
            let binds = [":=", "some ", "[key]", "[name]", "= input", "every ", "[path, "]
                .iter()
                .any(|sign| condition.contains(sign));
            let not = if random.u8(..4) == 0 { "not " } else { "" };
            if binds || condition.contains("not ") || random.bool() {
                helpers += 1;
                text.push_str(&format!("c{helpers} if {{ {condition} }}\n"));
                rule.push_str(&format!("\t{not}c{helpers}\n"));
            } else {
                rule.push_str(&format!("\t{not}{condition}\n"));
            }
        }
        rule.push('}');
    }
    text.push_str(&rule);
    text.push('\n');
    let module = Module::parse("a.rego".to_owned(), text.clone(), RegoVersion::V1).expect("a module");
    let data = object([]);
    let part = Part { bundle: "a", roots: &[Vec::new()], modules: &[module], data: &data };
    let limits = EvaluationLimits { time: Duration::from_secs(60), ..EvaluationLimits::default() };
    let policy =
        Policy::compile("a/answer", &[part], limits).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, policy)
}

fn request(random: &mut fastrand::Rng) -> Given {
    let mut headers = vec![
        (":authority", one(random, &["one.example", "two.example"])),
        (":method", one(random, &["GET", "PUT", "OPTIONS"])),
        (
            ":path",
            one(
                random,
                &["/", "/a", "/a?q=1", "/a/b?q=2&q=1", "/b/c", "/b?x", "/a%20b", "*", "/a?%zz", "/%"],
            ),
        ),
        (":scheme", one(random, &["http", "https"])),
    ];
    for (name, values) in [
        ("accept", &["*/*"][..]),
        ("content-type", &["application/x-www-form-urlencoded", "text/plain"]),
        ("x-request-id", &["1", "2"]),
        ("content-length", &["7", "0", "x"]),
        ("x-envoy-downstream-service-cluster", &["shop", ""]),
        ("x-role", &["admin", "user", ""]),
        ("x-other", &["admin"]),
        ("x-two", &["1"]),
        ("x-two", &["2"]),
    ] {
        if random.bool() {
            headers.push((name, one(random, values)));
        }
    }
    let bytes = |random: &mut fastrand::Rng, of: &[&str]| {
        random.bool().then(|| metadata::tests::bytes(&serde_json::from_str(one(random, of)).expect("JSON")))
    };
    let text = |random: &mut fastrand::Rng, of: &[&str]| random.bool().then(|| one(random, of).to_string());
    let address =
        |random: &mut fastrand::Rng, of: &[&str]| text(random, of).map(|text| SocketAddress::parse(&text));
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> =
        headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    if random.u8(..32) == 0 {
        headers.push((b"x-bytes".to_vec(), vec![0xff]));
    }
    let connection = Connection {
        source: address(random, &["10.0.0.1:1000", "10.0.0.7:0", "10.0.0.1:2000", "[::1]:80"]),
        destination: address(random, &["10.0.0.9:443", "10.0.0.8:443"]),
        source_principal: text(random, &["spiffe://a", "spiffe://b"]),
        source_certificate: text(random, &["pem"]),
        destination_principal: text(random, &["spiffe://a", "spiffe://c"]),
        requested_server_name: text(random, &["one.example", ""]),
        protocol: text(random, &["HTTP/1.1", "HTTP/2"]),
        time_ns: Some(random.u64(..3) * 1_000_000_003),
        peer: address(random, &["10.0.0.3:1000"]),
        metadata: bytes(random, &[r#"{"jwt": {"sub": "ada"}}"#, r#"{"jwt": {"sub": "bob"}, "x": {}}"#]),
        route_metadata: bytes(random, ROUTES),
        virtual_host_metadata: bytes(random, ROUTES),
    };
    let body = one(random, &["", "", "a=1", "a=2&list=x"]).into();
    Given { head: headers.into_iter().collect(), body, connection }
}

/// The same of the whole request, whatever was decided before.
fn whole(policy: &Policy, asked: &Given, paths: Paths, config: &InputConfig) -> Outcome {
    let now_ns = asked.connection.time_ns.and_then(|time| i64::try_from(time).ok()).unwrap_or_default();
    let moment = Moment { now_ns, runtime: object([("config", object([]))]), ..Moment::default() };
    match input(&asked.head, asked.body.clone(), asked.connection.clone(), paths, config) {
        Ok(input) => outcome(policy.evaluate(input, moment), &asked.head, paths),
        Err(error) => Outcome::BadRequest(error),
    }
}

#[test]
fn decisions_do_not_depend_on_what_was_fetched_or_asked_before() {
    const REQUESTS: u64 = 50;
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let decisions: u64 = number("PORTCULLIS_DECISIONS").unwrap_or(20_000);
    let first: u64 = number("PORTCULLIS_SEED").unwrap_or(1);
    let (mut remembered, mut parts, mut told) = (0, 0, 0);
    for seed in first..first + decisions / REQUESTS {
        let mut random = fastrand::Rng::with_seed(seed);
        let paths = one(&mut random, &[Paths::Strict, Paths::Opa]);
        // Few places, so that answers take the places of others.
        let namespaces = |random: &mut fastrand::Rng| {
            let all = ["jwt", "route"].into_iter().filter(|_| random.bool());
            all.map(str::to_owned).collect()
        };
        let config = InputConfig {
            metadata_namespaces: namespaces(&mut random),
            route_metadata_namespaces: namespaces(&mut random),
            body: Some(BodyLimits::default()),
            source_address: one(&mut random, &[SourceAddress::Connection, SourceAddress::TrustedClient]),
        };
        let mut decider = Decider::new(paths, 0, 16 << 10).with(config.clone(), BTreeMap::new());
        let policies = [policy(&mut random), policy(&mut random)];
        parts += policies.iter().filter(|(_, policy)| *policy.fields() != InputFields::all()).count();
        for _ in 0..REQUESTS {
            let (text, policy) = &policies[random.usize(..policies.len())];
            let asked = request(&mut random);
            let authorized = decider.decide(policy, &asked.head, &asked).expect("the body is there");
            remembered += u64::from(authorized.is_remembered);
            let mut expected = whole(policy, &asked, paths, &config);
            let cannot_be_told =
                |outcome: &Outcome| matches!(outcome, Outcome::BadRequest(RequestError::Unavailable(_)));
            if cannot_be_told(&expected) && cannot_be_told(&authorized.outcome) {
                // Which of several things is told does not matter.
                continue;
            }
            if cannot_be_told(&expected) {
                // It is not read, so it may as well be something else.
                told += 1;
                let mut other = Given {
                    head: asked.head.clone(),
                    body: asked.body.clone(),
                    connection: asked.connection.clone(),
                };
                let Connection { source, peer, route_metadata, virtual_host_metadata, .. } =
                    &mut other.connection;
                if peer.is_none() && config.source_address == SourceAddress::Connection {
                    source.take_if(|source| source.is_told_by_a_header());
                }
                for bytes in [route_metadata, virtual_host_metadata] {
                    bytes.take_if(|bytes| metadata::context_extensions(None, Some(bytes)).is_err());
                }
                expected = whole(policy, &other, paths, &config);
            }
            let without_id = |outcome: Outcome| match outcome {
                Outcome::Allow(mut permit) => {
                    permit.identify("");
                    Outcome::Allow(permit)
                }
                outcome => outcome,
            };
            assert_eq!(
                without_id(authorized.outcome),
                without_id(expected),
                "PORTCULLIS_SEED={seed}\n{text}\n{:?}\n{:?}\n{:?}",
                asked.head,
                asked.connection,
                policy.fields()
            );
        }
    }
    assert!(remembered > decisions / 20, "{remembered} of {decisions} were remembered");
    assert!(parts > 0, "no policy reads a part only");
    assert!(told > 0, "nothing was left unread");
}
