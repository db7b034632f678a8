//! Filters as other people write them, each with a mistake and without: what the default scenario is measured by.
//!
//! They were written before it was known what the default scenario finds, and none of them knows of the harness. The plugin
//! configuration picks one: `{"held_out": "geo", "faulty": true}`. The comment at the head of each says what its mistake is.

mod audit;
mod authcache;
mod batch;
mod bootwipe;
mod casonce;
mod deadline;
mod geo;
mod idempotent;
mod inflight;
mod lastuser;
mod lateheader;
mod leader;
mod limiter;
mod logout;
mod refresh;
mod retry;
mod scratch;
mod signature;
mod total;
mod twocalls;
mod twochecks;
mod waf;

use std::cell::Cell;

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::ContextType,
};

thread_local! {
    static FAULTY: Cell<bool> = const { Cell::new(false) };
}

/// The root context of a filter, which has its mistake or has not.
pub(crate) fn root(name: &str, faulty: bool, id: u32) -> Option<Box<dyn RootContext>> {
    FAULTY.set(faulty);
    Some(match name {
        "audit" => audit::root(id),
        "authcache" => authcache::root(id),
        "batch" => batch::root(id),
        "bootwipe" => bootwipe::root(id),
        "casonce" => casonce::root(id),
        "deadline" => deadline::root(id),
        "geo" => geo::root(id),
        "idempotent" => idempotent::root(id),
        "inflight" => inflight::root(id),
        "lastuser" => lastuser::root(id),
        "lateheader" => lateheader::root(id),
        "leader" => leader::root(id),
        "limiter" => limiter::root(id),
        "logout" => logout::root(id),
        "refresh" => refresh::root(id),
        "retry" => retry::root(id),
        "scratch" => scratch::root(id),
        "signature" => signature::root(id),
        "total" => total::root(id),
        "twocalls" => twocalls::root(id),
        "twochecks" => twochecks::root(id),
        "waf" => waf::root(id),
        _ => return None,
    })
}

/// Whether the filter has its mistake.
fn faulty() -> bool {
    FAULTY.get()
}

/// A filter without a state of its own.
fn only<H: HttpContext + 'static>(make: fn() -> Box<H>) -> Box<dyn RootContext> {
    Box::new(Only { make })
}

struct Only<H> {
    make: fn() -> Box<H>,
}

impl<H> Context for Only<H> {}

impl<H: HttpContext + 'static> RootContext for Only<H> {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some((self.make)())
    }
}
