//! One turn of one of Envoy's threads: an event, and every callback that it leads to.
//!
//! A turn is a future. Whenever a guest is held at a hostcall that other VMs can see, the turn gives the proxy back and
//! waits; other threads have their turns in between. Where nothing is ever held, a turn is over when it was first polled.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{proxy::Proxy, record::Note, schedule::Exploration, vms::AfterCall};
use crate::{
    abi::{Callback, Stop, Trap, VmIndex},
    steps::Verb,
};

/// What a turn does, to its end; it gives the turn back.
pub(super) type Task = Pin<Box<dyn Future<Output = Turn> + Send>>;
/// A part of a turn that may lead to itself again.
pub(super) type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The proxy, lent to the turn that runs.
pub(super) struct Turn {
    /// In the slot while the turn is held.
    proxy: Option<Box<Proxy>>,
    slot: ProxySlot,
}

/// Where the proxy is put while no turn runs. Clones are the same slot.
#[derive(Clone, Default)]
pub(super) struct ProxySlot(Arc<Mutex<Option<Box<Proxy>>>>);

/// What came of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    /// The guest does not export it.
    NotExported,
    /// It returned this; `stop` when a local response overrides it.
    Returned { value: u32, stop: bool },
    /// The VM failed in it, or had failed before.
    Failed,
}

/// How a plugin stands to new streams of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// It sees them, by this root context.
    Plugin { vm: VmIndex, root_id: u32 },
    /// They pass it by.
    Bypass,
    /// They fail when they come to it.
    Fail,
}

// === impl ProxySlot ===

impl ProxySlot {
    pub(super) fn put(&self, proxy: Box<Proxy>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(proxy);
    }

    pub(super) fn take(&self) -> Option<Box<Proxy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

// === impl Turn ===

impl Turn {
    /// A turn that has the proxy from the start.
    pub(super) fn new(proxy: Box<Proxy>, slot: ProxySlot) -> Turn {
        Turn { proxy: Some(proxy), slot }
    }

    /// Lets a turn go on until it is over or held, and gives the proxy back, with what is left of the turn.
    pub(super) fn poll(mut task: Task, slot: &ProxySlot) -> (Box<Proxy>, Option<Task>) {
        match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => (turn.proxy.expect("a turn that is over has the proxy"), None),
            Poll::Pending => (slot.take().expect("a turn that is held has put the proxy back"), Some(task)),
        }
    }

    /// Gives the proxy to other turns until it is this one's again.
    async fn hold(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            self.slot.put(proxy);
        }
        let mut polled = false;
        std::future::poll_fn(|_context| {
            if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.proxy = self.slot.take();
    }

    /// Calls a guest. What the callback asked for is left in the VM's record, for [`Turn::after_call`].
    pub(super) async fn enter(&mut self, vm: VmIndex, callback: Callback) -> Called {
        let Some(guest) = self.guests[vm].as_ref() else {
            return Called::Failed;
        };
        let exported = guest.exports(&callback);
        let record = &mut self.core_mut().vms[vm];
        if record.failed {
            return Called::Failed;
        }
        if !exported {
            return Called::NotExported;
        }
        record.current = callback.context_id();
        record.effective = 0;
        *record.callbacks.entry(callback.export()).or_default() += 1;
        let thread = record.role.slot();
        let core = self.core_mut();
        core.vms[vm].may_hold = core.exploration.as_mut().is_some_and(Exploration::may_hold);
        core.note(vm, Verb::Enter, |_core| Note { object: callback.export().to_owned(), ..Note::default() });
        core.remember(thread, callback.digest());
        let returned = loop {
            // Where the guest was held it has done all that came before, and goes back to it as little as Envoy's would.
            if self.core().vms[vm].doomed {
                break Err(Trap::planned(callback.export()));
            }
            match self.call(vm, callback) {
                None => return Called::Failed,
                Some(Ok(value)) => break Ok(value.unwrap_or(0)),
                Some(Err(Stop::Trap(trap))) => break Err(trap),
                Some(Err(Stop::Held)) => self.hold().await,
            }
        };
        let record = &mut self.core_mut().vms[vm];
        record.current = 0;
        record.effective = 0;
        record.may_hold = false;
        let stop = std::mem::take(&mut record.stop_iteration);
        match returned {
            Ok(value) => {
                self.core_mut().note(vm, Verb::Return, |_core| Note {
                    object: callback.export().to_owned(),
                    observed: value.to_string(),
                    ..Note::default()
                });
                self.core_mut().remember(thread, u128::from(value));
                Called::Returned { value, stop }
            }
            Err(trap) => {
                self.core_mut().note(vm, Verb::Trap, |_core| Note {
                    object: callback.export().to_owned(),
                    observed: trap.reason.clone(),
                    ..Note::default()
                });
                self.fail(vm, trap);
                Called::Failed
            }
        }
    }

    /// Does what the last callback of a VM asked for, in order. It may lead to other callbacks.
    pub(super) async fn after_call(&mut self, vm: VmIndex) {
        while let Some(action) = self.core_mut().vms[vm].after_call.pop_front() {
            self.carry_out(vm, action).await;
        }
    }

    fn carry_out(&mut self, vm: VmIndex, action: AfterCall) -> Boxed<'_> {
        Box::pin(async move {
            match action {
                AfterCall::LocalResponse { stream, response } => self.guest_reply(vm, stream, response).await,
                AfterCall::Continue { stream, filter, direction } => {
                    if let (super::stream::Direction::Request, Some(stream)) =
                        (direction, self.core_mut().streams.get_mut(&stream))
                    {
                        stream.let_go = true;
                    }
                    self.resume(stream, direction, filter).await;
                }
                AfterCall::Close { stream } => self.close(stream).await,
                AfterCall::DeleteRoot { root_id } => self.delete_root(vm, root_id).await,
                AfterCall::Grpc { root_id, token, step } => self.grpc_step(vm, root_id, token, step).await,
            }
        })
    }

    /// Calls a guest about a root context and does what it asked for.
    pub(super) async fn enter_root(&mut self, vm: VmIndex, callback: Callback) -> Called {
        let called = self.enter(vm, callback).await;
        self.after_call(vm).await;
        called
    }
}

impl Deref for Turn {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        self.proxy.as_deref().expect("a turn that runs has the proxy")
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Proxy {
        self.proxy.as_deref_mut().expect("a turn that runs has the proxy")
    }
}
