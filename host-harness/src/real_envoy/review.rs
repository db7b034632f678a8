//! What is wrong with a configuration of Envoy that has the filter in it: ways past the gate, and paths around its routes.

use std::collections::BTreeSet;

use portcullis_filter::{
    authz::{PEER_ADDRESS_KEY, SEAL_KEY, SEAL_VALUE},
    config::{Config, Paths, SourceAddress},
    plugin,
};
use serde_json::Value;

use super::routes::has_one_spelling;

const CONNECTION_MANAGER: &str = "HttpConnectionManager";
const WASM: &str = "http.wasm.v3.Wasm";
const RBAC: &str = "http.rbac.v3.RBAC";
const SET_FILTER_STATE: &str = "http.set_filter_state.v3.Config";
/// What makes filter state of the connection's address.
const DIRECT_ADDRESS: &str = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%";
/// Paths that servers read as one below `/NAME/` when nobody has put them right: Envoy's option against it, what stands before
/// and behind the name, and the cure.
const READINGS: &[(&str, &str, &str, &str)] = &[
    ("merge_slashes", "//", "/x", "set `merge_slashes: true`"),
    (
        "path_with_escaped_slashes_action",
        "/",
        "%2Fx",
        "set `path_with_escaped_slashes_action: REJECT_REQUEST`",
    ),
    ("", "/", ";a=b/x", "set `portcullis.paths: strict`"),
];

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether requests may get past the gate; otherwise they may get to another policy than was meant.
    pub is_fault: bool,
    /// Where: listener, filter or route.
    pub place: String,
    /// What is wrong, and the cure.
    pub message: String,
}

/// Looks through a bootstrap configuration, or a listener.
///
/// Shape: in its JSON form. A connection manager without the filter is passed over, but one must have it.
pub fn review(document: &Value) -> Vec<Finding> {
    let mut managers = Vec::new();
    find(document, CONNECTION_MANAGER, "", &mut managers);
    let mut findings = Vec::new();
    let mut gates = 0;
    for (place, manager) in managers {
        let filters = manager["http_filters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let places: Vec<usize> =
            filters.iter().enumerate().filter(|(_, filter)| is_gate(filter)).map(|(at, _)| at).collect();
        if places.is_empty() {
            continue;
        }
        gates += 1;
        review_chain(&place, filters, &places, &mut findings);
        if let Some(config) = plugin_config(filters, &places, &place, &mut findings) {
            review_routes(&place, manager, &config, &mut findings);
            let in_front = filters.get(..places[0]).unwrap_or_default();
            review_address(&place, manager, in_front, &config, &mut findings);
            if config.input.body.is_some() {
                let gates = places.iter().filter_map(|at| filters.get(*at));
                findings.extend(gates.filter(|gate| !gets_bodies(gate)).map(|_| without_bodies(&place)));
            }
        }
    }
    if gates == 0 {
        let message = "no connection manager has the filter; give the file that `portcullis envoy-config` writes, or one like it";
        findings.push(Finding {
            is_fault: true,
            place: "the document".to_owned(),
            message: message.to_owned(),
        });
    }
    findings
}

/// The filter twice, with one in between for which Envoy chooses the route, and the seal behind them.
fn review_chain(place: &str, filters: &[Value], gates: &[usize], findings: &mut Vec<Finding>) {
    let mut fault = |message: &str| {
        findings.push(Finding { is_fault: true, place: place.to_owned(), message: message.to_owned() });
    };
    let (Some(first), Some(last)) = (gates.first(), gates.last()) else { return };
    if !filters.iter().skip(*last).any(is_seal) {
        fault(
            "there is no seal behind the filter, and Envoy sends requests past a filter whose worker could not configure it; put \
             the RBAC filter there that `portcullis envoy-config` writes",
        );
    }
    let between = filters.get(*first + 1..*last).unwrap_or_default();
    if first == last {
        fault(
            "the filter stands there once; the second time it asks whether a decision has sent the request to another \
             policy's route: put it there again, with an RBAC filter in between",
        );
    } else if !between.iter().any(|filter| is_of_type(filter, RBAC)) {
        fault(
            "Envoy does not choose the route again between the two places of the filter; put an RBAC filter there",
        );
    }
    let configuration = |at: &usize| filters.get(*at).map(configuration_of);
    if configuration(first) != configuration(last) {
        fault("the two places of the filter have different configurations; give them the same one");
    }
}

fn plugin_config(
    filters: &[Value],
    gates: &[usize],
    place: &str,
    findings: &mut Vec<Finding>,
) -> Option<Config> {
    let document = configuration_of(filters.get(*gates.first()?)?)?;
    match Config::parse(document.as_bytes()) {
        Ok(config) => Some(config),
        Err(error) => {
            findings.push(Finding {
                is_fault: true,
                place: place.to_owned(),
                message: plugin::refusal(&error),
            });
            None
        }
    }
}

/// Whether Envoy hands bodies to a filter that holds the headers.
fn gets_bodies(gate: &Value) -> bool {
    gate["typed_config"]["config"]["allow_on_headers_stop_iteration"] == true
}

fn without_bodies(place: &str) -> Finding {
    let message = "a request whose policy reads the body waits for ever: with `portcullis.body` set \
                   `allow_on_headers_stop_iteration: true` beside the `configuration` of both places of the filter";
    Finding { is_fault: true, place: place.to_owned(), message: message.to_owned() }
}

/// Whose address policies are told, and whether a client can choose it.
fn review_address(
    place: &str,
    manager: &Value,
    in_front: &[Value],
    config: &Config,
    findings: &mut Vec<Finding>,
) {
    let handed_on =
        in_front.iter().filter(|filter| is_of_type(filter, SET_FILTER_STATE)).flat_map(|filter| {
            let values = filter["typed_config"]["on_request_headers"].as_array().map(Vec::as_slice);
            values.unwrap_or_default().iter().filter(|value| value["object_key"] == PEER_ADDRESS_KEY)
        });
    let handed_on: Vec<&Value> = handed_on.collect();
    let detection =
        manager["original_ip_detection_extensions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_remote = manager["use_remote_address"] == true;
    let has_hops = manager["xff_num_trusted_hops"].as_u64().is_some_and(|hops| hops > 0);
    let mut add = |is_fault, message: String| {
        findings.push(Finding { is_fault, place: place.to_owned(), message });
    };
    if handed_on
        .iter()
        .any(|value| value["format_string"]["text_format_source"]["inline_string"] != DIRECT_ADDRESS)
    {
        add(
            true,
            format!(
                "filter state `{PEER_ADDRESS_KEY}` is not the connection's address; make it of {DIRECT_ADDRESS}"
            ),
        );
    }
    let is_trusted = |extension: &Value| {
        let ranges = extension["typed_config"]["xff_trusted_cidrs"]["cidrs"].as_array();
        ranges.is_some_and(|ranges| !ranges.is_empty())
    };
    match config.input.source_address {
        SourceAddress::Connection if is_remote && !has_hops && detection.is_empty() => {}
        SourceAddress::Connection if !handed_on.is_empty() => {}
        SourceAddress::Connection => add(
            false,
            "a header may say whom Envoy takes for the client; such requests are answered 500 by policies that read \
             `input.attributes.source.address`: set `use_remote_address: true` without trusted hops, or put a filter \
             in front that hands the connection's address on"
                .to_owned(),
        ),
        SourceAddress::TrustedClient if detection.is_empty() && is_remote => {}
        SourceAddress::TrustedClient if detection.is_empty() => add(
            true,
            "with `portcullis.source_address: trusted_client` policies are told the address that a client writes into \
             `x-forwarded-for`: set `use_remote_address: true`, with `xff_num_trusted_hops` for the proxies in front, or \
             trust ranges of addresses by `original_ip_detection_extensions`"
                .to_owned(),
        ),
        SourceAddress::TrustedClient if detection.iter().all(is_trusted) => {}
        SourceAddress::TrustedClient => add(
            false,
            "with `portcullis.source_address: trusted_client` policies are told the address that a header says, from \
             whomever it comes: let only those reach the listener who may say it"
                .to_owned(),
        ),
    }
}

fn review_routes(place: &str, manager: &Value, config: &Config, findings: &mut Vec<Finding>) {
    let hosts = manager["route_config"]["virtual_hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    if hosts.is_empty() {
        findings.push(Finding {
            is_fault: false,
            place: place.to_owned(),
            message: "its routes come from elsewhere; give the file with them too, if there is one"
                .to_owned(),
        });
    }
    for host in hosts {
        let of_host = policy_of(host).or(config.default_policy.as_deref());
        let routes = host["routes"].as_array().map(Vec::as_slice).unwrap_or_default();
        for said in routes.iter().chain([host]).filter(|said| !says_texts(said)) {
            let name = said["name"].as_str().unwrap_or("a route");
            findings.push(Finding {
                is_fault: true,
                place: format!("{place}, {name}"),
                message: "`context_extensions` is no map of texts, so policies that read it answer 500; put each value in quotes"
                    .to_owned(),
            });
        }
        let policy = |route: &Value| policy_of(route).or(of_host).map(str::to_owned);
        let policies: BTreeSet<_> = routes.iter().map(policy).collect();
        // Who gets around a route gets to the same policy.
        if policies.len() < 2 {
            continue;
        }
        for route in routes {
            let name = route["name"].as_str().or_else(|| prefix_of(&route["match"])).unwrap_or("a route");
            for message in ways_around(&route["match"], manager, config.paths) {
                findings.push(Finding {
                    is_fault: false,
                    place: format!("{place}, route {name}"),
                    message: format!(
                        "{message}; policy {}",
                        policy(route).unwrap_or_else(|| "none".to_owned())
                    ),
                });
            }
        }
    }
}

/// Paths that a server may read as this route's, and that do not come to it.
fn ways_around(matcher: &Value, manager: &Value, paths: Paths) -> Vec<String> {
    let Some(prefix) = prefix_of(matcher).filter(|prefix| *prefix != "/") else {
        let is_regex = matcher.get("safe_regex").is_some();
        let message = "whether other spellings of a path come to a regular expression is not looked into";
        return is_regex.then(|| message.to_owned()).into_iter().collect();
    };
    let mut ways = Vec::new();
    let segment = prefix.trim_end_matches('/');
    if matcher["case_sensitive"] != false && prefix.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        let other: String = segment
            .chars()
            .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        ways.push(format!("`{other}/x` goes around it: set `case_sensitive: false`"));
    }
    if matcher.get("prefix").is_some() && prefix.ends_with('/') {
        ways.push(format!("`{segment}` goes around it: match `path_separated_prefix: {segment}`"));
    }
    if let Some(byte) = prefix.bytes().find(|byte| *byte != b'/' && !has_one_spelling(*byte)) {
        let escaped = format!("%{byte:02X}");
        let other = prefix.replacen(char::from(byte), &escaped, 1);
        ways.push(format!("`{other}` goes around it: match a `safe_regex` with both spellings"));
    }
    if paths == Paths::Opa {
        let left = READINGS.iter().filter(|(option, ..)| match manager[*option].as_str() {
            Some(action) => matches!(action, "KEEP_UNCHANGED" | "IMPLEMENTATION_SPECIFIC_DEFAULT"),
            None => manager[*option] != true,
        });
        let name = segment.trim_start_matches('/');
        ways.extend(left.map(|(_, before, behind, cure)| {
            format!("`{before}{name}{behind}` goes around it, to servers that read it so: {cure}")
        }));
    }
    ways
}

fn prefix_of(matcher: &Value) -> Option<&str> {
    ["prefix", "path_separated_prefix", "path"].iter().find_map(|kind| matcher[*kind].as_str())
}

fn policy_of(route: &Value) -> Option<&str> {
    route["metadata"]["filter_metadata"]["portcullis"]["policy"].as_str()
}

/// Whether what a route says to policies can be told.
fn says_texts(route: &Value) -> bool {
    let said = &route["metadata"]["filter_metadata"]["portcullis"]["context_extensions"];
    said.is_null() || said.as_object().is_some_and(|said| said.values().all(Value::is_string))
}

fn is_gate(filter: &Value) -> bool {
    let config = &filter["typed_config"]["config"];
    is_of_type(filter, WASM) && (config["root_id"] == "portcullis" || config["name"] == "portcullis")
}

fn configuration_of(filter: &Value) -> Option<String> {
    let configuration = &filter["typed_config"]["config"]["configuration"];
    match &configuration["value"] {
        Value::String(text) => Some(text.clone()),
        Value::Null => Some(configuration.to_string()).filter(|_| configuration.is_object()),
        fields => Some(fields.to_string()),
    }
}

fn is_seal(filter: &Value) -> bool {
    let rules = &filter["typed_config"]["rules"];
    let policies = rules["policies"].as_object();
    let asks = |policy: &Value| {
        let principals = policy["principals"].as_array().map(Vec::as_slice).unwrap_or_default();
        let asks = |principal: &Value| {
            let state = &principal["filter_state"];
            state["key"] == format!("wasm.{SEAL_KEY}") && state["string_match"]["exact"] == SEAL_VALUE
        };
        !principals.is_empty() && principals.iter().all(asks)
    };
    let is_allow = matches!(rules["action"].as_str(), None | Some("ALLOW"));
    is_of_type(filter, RBAC)
        && is_allow
        && policies.is_some_and(|policies| !policies.is_empty() && policies.values().all(asks))
}

fn is_of_type(filter: &Value, message: &str) -> bool {
    filter["typed_config"]["@type"].as_str().is_some_and(|url| url.ends_with(message))
}

/// Every message of a type, with the name of the listener around it.
fn find<'a>(value: &'a Value, message: &str, listener: &str, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            if value["@type"].as_str().is_some_and(|url| url.ends_with(message)) {
                found.push((listener.to_owned(), value));
            }
            let named = fields.get("filter_chains").and(fields.get("name")).and_then(Value::as_str);
            let listener = named.map_or_else(|| listener.to_owned(), |name| format!("listener {name}"));
            for value in fields.values() {
                find(value, message, &listener, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, message, listener, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::real_envoy::{BootstrapOptions, PolicyRoute, bootstrap};

    const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

    fn written(paths: &str) -> Value {
        let document = json!({
            "services": { "hub": { "url": "http://hub.test", "cluster": "hub" } },
            "bundles": { "b": {} },
            "portcullis": {
                "policies": { "one": { "bundles": ["b"] }, "two": { "bundles": ["b"] } },
                "default_policy": "one",
                "paths": paths,
            },
        });
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        let mut options = BootstrapOptions::new(
            "m.wasm",
            document.to_string(),
            std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into(),
        );
        let route = |prefix: &str| PolicyRoute { prefix: prefix.to_owned(), policy: "two".to_owned() };
        options.routes = vec![route("/t/"), route("/v1:do/")];
        bootstrap(&config, &options)
    }

    fn filters(document: &mut Value) -> &mut Vec<Value> {
        document.pointer_mut(MANAGER).unwrap()["http_filters"].as_array_mut().unwrap()
    }

    #[test]
    fn what_we_write_has_no_fault_and_with_strict_paths_no_way_around_but_what_is_not_looked_into() {
        let findings = review(&written("strict"));
        let [finding] = &findings[..] else { panic!("{findings:#?}") };
        assert!(!finding.is_fault && finding.message.contains("regular expression"), "{finding:?}");
        let messages = |findings: &[Finding]| {
            findings
                .iter()
                .filter(|f| f.place.ends_with("/t/"))
                .map(|f| f.message.clone())
                .collect::<Vec<_>>()
                .join("\n")
        };
        let reported = messages(&review(&written("opa")));
        for way in ["`//t/x`", "`/t%2Fx`", "`/t;a=b/x`"] {
            assert!(reported.contains(way), "{way}: {reported}");
        }
        let mut merged = written("opa");
        merged.pointer_mut(MANAGER).unwrap()["merge_slashes"] = json!(true);
        merged.pointer_mut(MANAGER).unwrap()["path_with_escaped_slashes_action"] = json!("REJECT_REQUEST");
        let reported = messages(&review(&merged));
        assert!(
            !reported.contains("`//t/x`") && !reported.contains("%2F") && reported.contains(";a=b"),
            "{reported}"
        );
    }

    #[test]
    fn ways_past_the_gate_are_faults() {
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 8] = [
            ("no seal", |document| filters(document).retain(|filter| !is_seal(filter))),
            ("no seal", |document| filters(document).rotate_right(2)),
            ("no seal", |document| {
                filters(document)[3]["typed_config"]["rules"]["policies"]["all"] =
                    json!({ "permissions": [{ "any": true }], "principals": [{ "any": true }] });
            }),
            ("no seal", |document| filters(document)[3]["typed_config"]["rules"]["action"] = json!("LOG")),
            ("stands there once", |document| drop(filters(document).remove(2))),
            ("does not choose the route", |document| drop(filters(document).remove(1))),
            ("different configurations", |document| {
                filters(document)[0]["typed_config"]["config"]["configuration"]["value"] = json!("x");
            }),
            ("no connection manager", |document| filters(document).retain(|filter| !is_gate(filter))),
        ];
        for (message, change) in changes {
            let mut document = written("strict");
            change(&mut document);
            let faults: Vec<Finding> =
                review(&document).into_iter().filter(|finding| finding.is_fault).collect();
            assert!(faults.iter().any(|fault| fault.message.contains(message)), "{message}: {faults:#?}");
        }
    }

    #[test]
    fn a_filter_that_never_gets_a_body_is_a_fault_where_bodies_are_read() {
        let faults = |reads_bodies: bool, gets_bodies: bool| {
            let mut document = written("strict");
            for filter in filters(&mut document).iter_mut().filter(|filter| is_gate(filter)) {
                let config = &mut filter["typed_config"]["config"];
                if !gets_bodies {
                    config["allow_on_headers_stop_iteration"] = json!(false);
                }
                if reads_bodies {
                    let text = config["configuration"]["value"].as_str().unwrap();
                    let text = text.replacen("\"portcullis\":{", "\"portcullis\":{\"body\":{},", 1);
                    config["configuration"]["value"] = json!(text);
                }
            }
            let findings = review(&document);
            findings.iter().filter(|finding| finding.message.contains("waits for ever")).count()
        };
        assert_eq!((faults(true, false), faults(true, true), faults(false, false)), (2, 0, 0));
    }

    #[test]
    fn addresses_that_a_client_can_choose_are_told() {
        let ranges =
            json!({ "xff_trusted_cidrs": { "cidrs": [{ "address_prefix": "10.0.0.0", "prefix_len": 8 }] } });
        let detection =
            |config: &Value| json!({ "original_ip_detection_extensions": [{ "typed_config": config }] });
        // The options, and what is found with `connection` and with `trusted_client`: a fault, a warning, or nothing.
        for (options, found) in [
            (json!({ "use_remote_address": true }), [None, None]),
            (json!({ "use_remote_address": true, "xff_num_trusted_hops": 1 }), [Some(false), None]),
            (json!({ "use_remote_address": false }), [Some(false), Some(true)]),
            (json!({ "use_remote_address": null }), [Some(false), Some(true)]),
            (json!({ "use_remote_address": false, "xff_num_trusted_hops": 1 }), [Some(false), Some(true)]),
            (detection(&ranges), [Some(false), None]),
            (detection(&json!({ "header_name": "x-real-ip" })), [Some(false), Some(false)]),
            (detection(&json!({ "xff_trusted_cidrs": { "cidrs": [] } })), [Some(false), Some(false)]),
        ] {
            for (address, found) in ["connection", "trusted_client"].into_iter().zip(found) {
                let mut document = written("strict");
                for filter in filters(&mut document) {
                    if let Some(Value::String(text)) =
                        filter.pointer_mut("/typed_config/config/configuration/value")
                    {
                        let mut plugin: Value = serde_json::from_str(text).unwrap();
                        plugin["portcullis"]["source_address"] = json!(address);
                        *text = plugin.to_string();
                    }
                }
                let manager = document.pointer_mut(MANAGER).unwrap().as_object_mut().unwrap();
                manager.extend(options.as_object().unwrap().clone());
                let about = |document: &Value| {
                    let findings = review(document).into_iter();
                    let about = findings.filter(|f| f.message.contains("address"));
                    about.map(|finding| finding.is_fault).collect::<Vec<_>>()
                };
                assert_eq!(about(&document), found.into_iter().collect::<Vec<_>>(), "{options} {address}");
                // With the connection's address handed on, there is nothing to warn of.
                let hand_on = |text: &str| {
                    json!({ "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
                        "on_request_headers": [{
                            "object_key": PEER_ADDRESS_KEY,
                            "format_string": { "text_format_source": { "inline_string": text } },
                        }],
                    } })
                };
                for (text, is_right) in [(DIRECT_ADDRESS, true), ("%REQ(X-REAL-IP)%", false)] {
                    let mut document = document.clone();
                    filters(&mut document).insert(0, hand_on(text));
                    let faults = about(&document).iter().filter(|is_fault| **is_fault).count();
                    let own = usize::from(found == Some(true));
                    assert_eq!(faults, own + usize::from(!is_right), "{text}");
                    if address == "connection" && is_right {
                        assert_eq!(about(&document), [false; 0]);
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_route_says_to_policies_is_texts() {
        for (said, is_right) in
            [(json!({ "a": "b" }), true), (json!({}), true), (json!({ "a": 1 }), false), (json!("a"), false)]
        {
            for place in ["/route_config/virtual_hosts/0", "/route_config/virtual_hosts/0/routes/0"] {
                let mut document = written("strict");
                let route = document.pointer_mut(MANAGER).unwrap().pointer_mut(place).unwrap();
                route["metadata"]["filter_metadata"]["portcullis"]["context_extensions"] = said.clone();
                let faults = review(&document).into_iter().filter(|finding| finding.is_fault).count();
                assert_eq!(faults, usize::from(!is_right), "{said} {place}");
            }
        }
    }

    #[test]
    fn routes_that_a_path_goes_around_are_warned_of() {
        for (matcher, ways) in [
            (json!({ "prefix": "/t/" }), &["`/T/x`", "`/t` goes around"][..]),
            (json!({ "path_separated_prefix": "/t" }), &["`/T/x`"]),
            (json!({ "prefix": "/t", "case_sensitive": false }), &[]),
            (json!({ "prefix": "/a:b", "case_sensitive": false }), &["`/a%3Ab`"]),
            (json!({ "path": "/1", "case_sensitive": true }), &[]),
        ] {
            let mut document = written("strict");
            let route = format!("{MANAGER}/route_config/virtual_hosts/0/routes/0");
            document.pointer_mut(&route).unwrap()["match"] = matcher.clone();
            let findings = review(&document);
            let reported: Vec<&str> =
                findings.iter().filter(|f| f.place.ends_with("/t/")).map(|f| f.message.as_str()).collect();
            assert_eq!(reported.len(), ways.len(), "{matcher}: {reported:?}");
            assert!(
                ways.iter().zip(&reported).all(|(way, reported)| reported.contains(way)),
                "{matcher}: {reported:?}"
            );
        }
    }
}
