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
    authz::{HeaderChange, LocalResponse, Permit, Progress, SEAL_KEY},
    plugin::{Admitted, Pass, Verdict},
};

/// Filter state with the JSON text of a decision's `dynamic_metadata`.
const DYNAMIC_METADATA_KEY: &str = "portcullis.dynamic_metadata";

pub(super) struct Stream {
    shared: Rc<RefCell<Shared>>,
    stage: Stage,
    /// Bytes of the body that count as held.
    held: usize,
    /// Of this request alone (INVARIANT no crossing); none until it is permitted.
    permit: Option<Permit>,
}

/// What has become of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody has let it on.
    Held,
    /// It is held until more of its body is there.
    AwaitsBody,
    /// It goes on, and so does its body.
    GoesOn,
}

// === impl Stream ===

impl Stream {
    pub(super) fn new(shared: Rc<RefCell<Shared>>) -> Self {
        Self { shared, stage: Stage::Held, held: 0, permit: None }
    }

    /// Asks about the request, of whose body so much has come.
    fn go_on(&mut self, progress: Progress) -> Action {
        let verdict = self.admit(progress);
        self.stage = Stage::Held;
        match verdict {
            Verdict::AwaitBody => {
                self.stage = Stage::AwaitsBody;
                Action::Pause
            }
            Verdict::Pass(pass) => {
                self.release();
                self.let_on(pass)
            }
            Verdict::Respond(response) => {
                self.release();
                respond(&response)
            }
        }
    }

    fn admit(&self, progress: Progress) -> Verdict {
        let (state, policy) = (host::seal_state(), host::named_policy());
        let Ok(mut shared) = self.shared.try_borrow_mut() else {
            return Verdict::Respond(LocalResponse::host_failed());
        };
        let (state, policy, request) = (state.as_deref(), policy.as_deref(), HostRequest { progress });
        let Admitted { verdict, effects } =
            shared.plugin.admit(state, policy, &request, host::now(), &HostData);
        shared.tell(effects);
        verdict
    }

    fn release(&mut self) {
        if self.held > 0
            && let Ok(mut shared) = self.shared.try_borrow_mut()
        {
            shared.plugin.release_body(&mut self.held);
        }
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
        self.stage = Stage::GoesOn;
        Action::Continue
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.release();
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, is_end: bool) -> Action {
        self.go_on(if is_end { Progress::Ended } else { Progress::Awaited })
    }

    /// `bytes` are all that have come: Envoy buffers them while this is answered with a pause.
    fn on_http_request_body(&mut self, bytes: usize, is_end: bool) -> Action {
        match self.stage {
            Stage::GoesOn => return Action::Continue,
            Stage::Held => return Action::Pause,
            Stage::AwaitsBody => {}
        }
        let progress = match self.shared.try_borrow_mut() {
            Ok(mut shared) => shared.plugin.hold_body(&mut self.held, bytes, is_end),
            Err(_) => Progress::NoRoom,
        };
        // Nothing but bytes has come: a body in many pieces is asked about once.
        if progress == Progress::Awaited { Action::Pause } else { self.go_on(progress) }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        match self.stage {
            Stage::GoesOn => Action::Continue,
            Stage::Held => Action::Pause,
            Stage::AwaitsBody => self.go_on(Progress::Ended),
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
