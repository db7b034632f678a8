//! One request in the VM.

use std::{cell::RefCell, rc::Rc};

use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::{Action, MapType},
};

use super::{
    Shared,
    host::{self, HostData},
};
use crate::{
    authz::{HeaderChange, LocalResponse, Permit, RequestHead, SEAL_KEY, SEAL_VALUE},
    plugin::Decided,
};

/// Filter state with the JSON text of a decision's `dynamic_metadata`.
const DYNAMIC_METADATA_KEY: &str = "portcullis.dynamic_metadata";

pub(super) struct Stream {
    shared: Rc<RefCell<Shared>>,
    /// Of this request alone (INVARIANT no crossing); none until it is permitted.
    permit: Option<Permit>,
}

// === impl Stream ===

impl Stream {
    pub(super) fn new(shared: Rc<RefCell<Shared>>) -> Self {
        Self { shared, permit: None }
    }

    fn decide(&self) -> Result<Permit, LocalResponse> {
        // Decided without its headers, a request could be allowed for what it does not carry.
        let Ok(headers) = hostcalls::get_map_bytes(MapType::HttpRequestHeaders) else {
            return Err(LocalResponse::host_failed());
        };
        let headers = headers.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        let head = RequestHead { headers, connection: host::connection() };
        let policy = host::named_policy();
        let Ok(mut shared) = self.shared.try_borrow_mut() else {
            return Err(LocalResponse::host_failed());
        };
        let Decided { outcome, effects } =
            shared.plugin.decide(policy.as_deref(), &head, host::now(), &HostData);
        shared.tell(effects);
        outcome.into_permit()
    }

    /// INVARIANT (closed): the one way to `Action::Continue`, and it takes a permit.
    fn let_on(&mut self, permit: Permit) -> Action {
        // The seal comes first: whatever fails after it, a request without it goes no further than Envoy's RBAC filter.
        let sealed = hostcalls::set_property(vec![SEAL_KEY], Some(SEAL_VALUE.as_bytes()));
        if sealed.is_err() || apply(MapType::HttpRequestHeaders, permit.request_changes()).is_err() {
            return respond(&LocalResponse::host_failed());
        }
        if let Some(metadata) = permit.dynamic_metadata() {
            let _ = hostcalls::set_property(vec![DYNAMIC_METADATA_KEY], Some(metadata.as_bytes()));
        }
        self.permit = Some(permit);
        Action::Continue
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        match self.decide() {
            Ok(permit) => self.let_on(permit),
            Err(response) => respond(&response),
        }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if let Some(permit) = &self.permit {
            let _ = apply(MapType::HttpResponseHeaders, permit.response_changes());
        }
        Action::Continue
    }
}

fn respond(response: &LocalResponse) -> Action {
    let headers = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = Some(response.body.as_bytes()).filter(|body| !body.is_empty());
    let _ = hostcalls::send_http_response(u32::from(response.status), headers, body);
    Action::Pause
}

fn apply(map: MapType, changes: &[HeaderChange]) -> Result<(), proxy_wasm::types::Status> {
    for change in changes {
        match change {
            HeaderChange::Replace(name, value) => hostcalls::set_map_value(map, name, Some(value))?,
            HeaderChange::Add(name, value) => hostcalls::add_map_value(map, name, value)?,
            HeaderChange::Remove(name) => hostcalls::remove_map_value(map, name)?,
        }
    }
    Ok(())
}
