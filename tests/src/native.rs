//! The filter's core without any Wasm: events in, effects carried out by a few lines that stand for the host.

use std::time::Duration;

use portcullis_filter::{
    authz::{Asked, Connection, HeaderChange, LocalResponse, Permit, Request, RequestHead, SocketAddress},
    manager::{Answer, Effect, Event, LocalData, SharedCache},
    plugin::{Pass, Plugin, Verdict},
};

use crate::table::{Answered, CaseRequest, SeenUpstream, Table};

/// A plugin that has loaded what a table's bundle server offers.
pub struct Native {
    plugin: Plugin,
    shared: LocalData,
}

// === impl Native ===

impl Native {
    /// Configures a plugin for the table and answers its fetches from the table's archives.
    pub fn load(table: &Table) -> Self {
        let document = table.configuration("http://bundles.test").to_string();
        let (mut plugin, effects) = Plugin::configure(document.as_bytes(), 1, SharedCache::default());
        assert!(plugin.tick_period().is_some(), "{effects:?}");
        let archives = table.archives();
        let shared = LocalData::default();
        let mut effects = plugin.handle(Event::Tick, Duration::ZERO, &shared);
        while plugin.has_work() {
            effects.extend(plugin.handle(Event::Work, Duration::ZERO, &shared));
        }
        for effect in effects {
            if let Effect::Fetch { id, call } = effect {
                let path = call.headers.iter().find(|(name, _)| name == ":path").map_or("", |(_, path)| path);
                let name = path.trim_start_matches('/').trim_end_matches(".tar.gz");
                let answer = match &archives[name] {
                    Some(archive) => Answer::Response { status: 200, etag: None, body: archive.clone() },
                    None => Answer::Response { status: 404, etag: None, body: Vec::new() },
                };
                plugin.handle(Event::Fetched { id, answer }, Duration::ZERO, &shared);
            }
        }
        while plugin.has_work() {
            plugin.handle(Event::Work, Duration::ZERO, &shared);
        }
        Self { plugin, shared }
    }

    /// How many of the table's policies can decide.
    pub fn ready_policies(&self, table: &Table) -> u64 {
        table.policies().filter(|policy| self.plugin.policy(Some(policy), Duration::ZERO).is_ok()).count()
            as u64
    }

    /// One place of the filter, for a request that carries this state; the host gives its headers only where it is asked to.
    pub fn admit(
        &mut self,
        state: Option<&[u8]>,
        request: Option<&CaseRequest>,
        policy: Option<&str>,
    ) -> Result<Pass, LocalResponse> {
        match self.plugin.admit(state, policy, &HostRequest(request), Duration::ZERO, &self.shared).verdict {
            Verdict::Pass(pass) => Ok(pass),
            Verdict::Respond(response) => Err(response),
            Verdict::AwaitBody => unreachable!("bodies are off here"),
        }
    }

    /// One request through the core and, if it is permitted, to an upstream.
    pub fn exchange(&mut self, request: &CaseRequest) -> Answered {
        let mut headers = head(request);
        match self.admit(None, Some(request), request.policy.as_deref()) {
            Err(response) => Answered {
                status: response.status,
                headers: response.headers,
                body: response.body,
                upstream: None,
            },
            Ok(pass) => {
                let permit = pass.into_permit();
                let changes =
                    |of: fn(&Permit) -> &[HeaderChange]| permit.as_ref().map(of).unwrap_or_default();
                apply(&mut headers, changes(Permit::request_changes));
                let upstream: Vec<(String, String)> = headers.into_iter().map(readable).collect();
                let path =
                    upstream.iter().find(|(name, _)| name == ":path").map_or("", |(_, path)| path).to_owned();
                let mut response = vec![(b"x-answered-by".to_vec(), b"upstream".to_vec())];
                apply(&mut response, changes(Permit::response_changes));
                Answered {
                    status: 200,
                    headers: response.into_iter().map(readable).collect(),
                    body: "upstream".to_owned(),
                    upstream: Some(SeenUpstream { path, headers: upstream }),
                }
            }
        }
    }
}

/// Headers as Envoy's connection manager hands them to a filter.
pub fn head(request: &CaseRequest) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pseudo: [(&str, Vec<u8>); 5] = [
        (":authority", request.authority.clone().into_bytes()),
        (":path", request.path.bytes()),
        (":method", request.method.clone().into_bytes()),
        (":scheme", b"http".to_vec()),
        ("x-request-id", b"5a6d4e8c-3a5b-4f0e-9c1d-2b7f8e9a0c1d".to_vec()),
    ];
    let pseudo = pseudo.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value));
    let sent =
        request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.bytes()));
    pseudo.chain(sent).collect()
}

/// A request that the host tells of, or does not.
struct HostRequest<'a>(Option<&'a CaseRequest>);

impl Request for HostRequest<'_> {
    fn head(&self) -> Option<RequestHead> {
        Some(head(self.0?).into_iter().collect())
    }

    fn connection(&self, _: &Asked<'_>) -> Connection {
        connection()
    }
}

fn connection() -> Connection {
    let address = |port| Some(SocketAddress { address: "127.0.0.1".to_owned(), port });
    Connection {
        source: address(50_000),
        destination: address(10_000),
        protocol: Some("HTTP/1.1".to_owned()),
        time_ns: Some(1_780_000_000_000_000_001),
        ..Connection::default()
    }
}

fn apply(headers: &mut Vec<(Vec<u8>, Vec<u8>)>, changes: &[HeaderChange]) {
    for change in changes {
        match change {
            HeaderChange::Replace(name, value) => {
                headers.retain(|(header, _)| header != name.as_bytes());
                headers.push((name.clone().into_bytes(), value.clone().into_bytes()));
            }
            HeaderChange::Add(name, value) => {
                headers.push((name.clone().into_bytes(), value.clone().into_bytes()))
            }
            HeaderChange::Remove(name) => headers.retain(|(header, _)| header != name.as_bytes()),
        }
    }
}

fn readable((name, value): (Vec<u8>, Vec<u8>)) -> (String, String) {
    (String::from_utf8_lossy(&name).into_owned(), String::from_utf8_lossy(&value).into_owned())
}
