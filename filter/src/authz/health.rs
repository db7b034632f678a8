//! The health answer: OPA's `/health` for those who probe, and everything for those who look.
//!
//! Source: OPA's REST API, "Health API": `?bundles`, `?plugins`, `?exclude-plugin`; 200 with `{}`, or 500 with the reason.

use serde_json::json;
use url::form_urlencoded;

use super::{LocalResponse, RequestHead};
use crate::manager::Health;

/// What is asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HealthQuery {
    bundles: bool,
    plugins: bool,
    excluded: Vec<String>,
    detail: bool,
}

// === impl HealthQuery ===

impl HealthQuery {
    /// The question, if the request is one: a `GET` or `HEAD` of the path.
    pub(crate) fn read(path: &str, tells_detail: bool, head: &RequestHead) -> Option<Self> {
        let header = |wanted: &str| {
            let (_, value) = head.headers.iter().find(|(name, _)| name == wanted.as_bytes())?;
            std::str::from_utf8(value).ok()
        };
        if !matches!(header(":method")?, "GET" | "HEAD") {
            return None;
        }
        let (asked, query) = header(":path")?.split_once('?').unwrap_or((header(":path")?, ""));
        if asked != path {
            return None;
        }
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // A parameter without a value counts as true, as in OPA.
            let is_on = value.is_empty() || value.eq_ignore_ascii_case("true");
            match name.as_ref() {
                "bundles" => read.bundles = is_on,
                // OPA's older name for it.
                "bundle" => read.bundles = is_on,
                "plugins" => read.plugins = is_on,
                "exclude-plugin" => read.excluded.push(value.into_owned()),
                "detail" => read.detail = is_on && tells_detail,
                _ => {}
            }
        }
        Some(read)
    }

    /// The answer.
    pub(crate) fn answer(&self, health: &Health) -> LocalResponse {
        let fault = self.fault(health);
        let status = if fault.is_none() { 200 } else { 500 };
        let mut body = if self.detail { serde_json::to_value(health).unwrap_or_default() } else { json!({}) };
        if let (Some(fault), Some(body)) = (fault, body.as_object_mut()) {
            body.insert("error".to_owned(), fault.into());
        }
        let headers = [("content-type", "application/json"), ("cache-control", "no-store")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        LocalResponse { status, headers, body: body.to_string() }
    }

    fn fault(&self, health: &Health) -> Option<String> {
        let is_up = |plugin: &str, state: bool| state || self.excluded.iter().any(|name| name == plugin);
        if let Some(problem) = health.problems.first() {
            return Some(problem.clone());
        }
        let activated = health.bundles_activated();
        if self.bundles && !activated {
            return Some("one or more bundles are not activated".to_owned());
        }
        let plugins_up = is_up("bundle", activated) && is_up("envoy_ext_authz_grpc", health.ready);
        (self.plugins && !plugins_up).then(|| "one or more plugins are not up".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::manager::{BundleHealth, VmHealth};

    #[test]
    fn only_a_get_of_the_very_path_is_a_question() {
        for (method, path, asked) in [
            ("GET", "/health", true),
            ("HEAD", "/health?detail", true),
            ("POST", "/health", false),
            ("GET", "/health/", false),
            ("GET", "/Health", false),
            ("GET", "/healthy", false),
            ("GET", "/%68ealth", false),
        ] {
            assert_eq!(
                HealthQuery::read("/health", true, &head(method, path)).is_some(),
                asked,
                "{method} {path}"
            );
        }
        assert_eq!(HealthQuery::read("/health", true, &RequestHead::default()), None);
    }

    #[test]
    fn parameters_are_read_as_opa_reads_them() {
        let read = |query: &str| {
            HealthQuery::read("/health", true, &head("GET", &format!("/health?{query}"))).unwrap()
        };
        assert_eq!(read("bundles"), HealthQuery { bundles: true, ..HealthQuery::default() });
        assert_eq!(read("bundle=true"), read("bundles=TRUE"));
        assert_eq!(read("bundles=false&plugins=no"), HealthQuery::default());
        assert!(read("detail").detail, "where the configuration says so");
        let query = HealthQuery::read("/health", false, &head("GET", "/health?detail")).unwrap();
        assert_eq!(query, HealthQuery::default());
        let excluded = vec!["discovery".to_owned(), "a b".to_owned()];
        let query = read("plugins&exclude-plugin=discovery&exclude-plugin=a+b&other=1");
        assert_eq!(query, HealthQuery { plugins: true, excluded, ..HealthQuery::default() });
    }

    #[test]
    fn the_answer_is_opas() {
        let fine = health();
        let never = Health { vms: vec![vm(true, &[])], ready: false, ..health() };
        let other_dead = Health { vms: vec![vm(true, &["b"]), vm(false, &[])], ..health() };
        let alone = Health { vms: Vec::new(), ..health() };
        let refused = Health { ready: false, ..health() };
        let stuck = Health { healthy: false, problems: vec!["stuck".to_owned()], ..health() };
        for (what, health, query, status) in [
            ("all is well", &fine, "bundles&plugins", 200),
            ("a bundle was never activated", &never, "", 200),
            ("a bundle was never activated", &never, "bundles", 500),
            ("a bundle was never activated", &never, "plugins", 500),
            ("a bundle was never activated", &never, "plugins&exclude-plugin=bundle", 500),
            ("one that is dead is not waited for", &other_dead, "bundles", 200),
            ("nobody has joined", &alone, "bundles", 500),
            ("a policy cannot decide", &refused, "bundles", 200),
            ("a policy cannot decide", &refused, "plugins", 500),
            ("a policy cannot decide", &refused, "plugins&exclude-plugin=envoy_ext_authz_grpc", 200),
            ("something is stuck", &stuck, "", 500),
        ] {
            let query = HealthQuery::read("/h", true, &head("GET", &format!("/h?{query}"))).unwrap();
            let answer = query.answer(health);
            assert_eq!(answer.status, status, "{what}: {query:?}");
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body.get("error").is_some(), status == 500, "{what}: {body}");
        }
        let detail = HealthQuery { detail: true, ..HealthQuery::default() }.answer(&stuck);
        let body: serde_json::Value = serde_json::from_str(&detail.body).unwrap();
        assert_eq!((&body["error"], &body["vms"][0]["serving"]["b"]), (&json!("stuck"), &json!(1)));
    }

    fn head(method: &str, path: &str) -> RequestHead {
        let header = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let headers = vec![header(":method", method), header(":path", path)];
        RequestHead { headers, has_body: false }
    }

    fn health() -> Health {
        let bundle = BundleHealth {
            state: "current",
            generation: 1,
            revision: String::new(),
            digest: String::new(),
            loader: None,
            loader_alive: true,
            epoch: 1,
            published_ms_ago: Some(0),
            checked_ms_ago: Some(0),
            fault: None,
            failing_for_ms: None,
            stale: false,
            serving: Some(1),
            refused: None,
        };
        Health {
            healthy: true,
            ready: true,
            problems: Vec::new(),
            vm: "v".to_owned(),
            bundles: BTreeMap::from([("b".to_owned(), bundle)]),
            policies: BTreeMap::new(),
            vms: vec![vm(true, &["b"])],
        }
    }

    fn vm(alive: bool, serving: &[&str]) -> VmHealth {
        VmHealth {
            vm: "v".to_owned(),
            member: 0,
            alive,
            lost_for_ms: None,
            policies_ready: 1,
            policies: 1,
            serving: serving.iter().map(|name| ((*name).to_owned(), 1)).collect(),
            behind: Vec::new(),
            policies_serving: BTreeMap::new(),
        }
    }
}
