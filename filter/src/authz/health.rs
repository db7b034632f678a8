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
    pub(crate) fn read(path: &str, head: &RequestHead) -> Option<Self> {
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
                "detail" => read.detail = is_on,
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
