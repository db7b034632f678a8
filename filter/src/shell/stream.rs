//! One request in the VM.

use std::{cell::RefCell, rc::Rc};

use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::{Action, MapType},
};

use super::{
    Shared,
    host::{self, HostData, HostRequest},
};
use crate::{
    authz::{HeaderChange, LocalResponse, Permit, SEAL_KEY},
    plugin::{Admitted, Pass},
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

    fn admit(&self, has_body: bool) -> Result<Pass, LocalResponse> {
        let (state, policy) = (host::seal_state(), host::named_policy());
        let Ok(mut shared) = self.shared.try_borrow_mut() else {
            return Err(LocalResponse::host_failed());
        };
        let (state, policy) = (state.as_deref(), policy.as_deref());
        let request = HostRequest { has_body };
        let Admitted { pass, effects } = shared.plugin.admit(state, policy, &request, host::now(), &HostData);
        shared.tell(effects);
        pass
    }

    /// INVARIANT (closed): the one way to `Action::Continue`, and it takes a pass.
    fn let_on(&mut self, pass: Pass) -> Action {
        // It comes first: whatever fails after it, a request without it goes no further than Envoy's RBAC filter.
        let set = hostcalls::set_property(vec![SEAL_KEY], Some(pass.state().as_bytes()));
        let changes = pass.permit().map(Permit::request_changes).unwrap_or_default();
        if set.is_err() || apply(MapType::HttpRequestHeaders, changes).is_err() {
            return respond(&LocalResponse::host_failed());
        }
        if let Some(metadata) = pass.permit().and_then(Permit::dynamic_metadata) {
            let _ = hostcalls::set_property(vec![DYNAMIC_METADATA_KEY], Some(metadata.as_bytes()));
        }
        self.permit = pass.into_permit();
        Action::Continue
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, is_end: bool) -> Action {
        match self.admit(!is_end) {
            Ok(pass) => self.let_on(pass),
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
