//! How events reach VMs: ticks, notices, and the answers of calls.

use bytes::Bytes;

use super::{
    core::Owner,
    events::{Event, PlannedRequest},
    exchange::{Request, StreamId},
    headers::HeaderMap,
    record::{Note, Recorder, text},
    retry::Verdict,
    shared_queue::Consumer,
    turn::{Called, Task, Turn},
    upstream,
    vms::{CallResponse, VmSlot},
    xds::Update,
};
use crate::{
    abi::{Callback, VmIndex},
    steps::Verb,
    world::{CallId, Outcome},
};

/// What a turn begins with.
#[derive(Debug)]
pub(super) enum Job {
    /// Something that was due.
    Event(Event),
    /// A call that the world answered at a time of its own.
    Answer(CallId, Outcome),
    /// A client's request for a worker.
    Begin { worker: usize, id: StreamId, request: Request },
    /// A client goes away.
    Leave(StreamId),
    /// The control plane changes something.
    Update(Update),
    /// A worker's VM is notified of a connection, as if it were a network filter's.
    Connect { worker: usize },
    /// The process ends.
    ShutDown,
}

impl Turn {
    /// The turn that does a job.
    pub(super) fn doing(mut self, job: Job) -> Task {
        Box::pin(async move {
            match job {
                Job::Event(event) => self.run(event).await,
                Job::Answer(call, outcome) => self.answer(call, outcome).await,
                Job::Begin { worker, id, request } => self.begin(worker, id, request).await,
                Job::Leave(id) => self.leave(id).await,
                Job::Update(update) => self.refused = self.update(&update).await.err(),
                Job::Connect { worker } => self.connect(worker).await,
                Job::ShutDown => self.shut_down().await,
            }
            self
        })
    }

    /// Runs an event that is due.
    pub(super) async fn run(&mut self, event: Event) {
        match event {
            Event::Tick { vm, root_id } => self.tick(vm, root_id).await,
            Event::Answer { call, outcome } => self.answer(call, outcome).await,
            Event::CallTimeout { call } => self.time_out(call).await,
            Event::Grpc { call, event } => self.grpc_event(call, Some(event)).await,
            Event::GrpcTimeout { call } => self.grpc_event(call, None).await,
            Event::QueueReady { consumer, token } => self.queue_ready(consumer, token).await,
            Event::NextPart { stream } => self.feed(stream).await,
            Event::StreamIdle { stream } => self.idle(stream).await,
            Event::Request(planned) => self.send_planned(&planned).await,
            Event::Leave { stream } => self.leave(stream).await,
            Event::Retry { call } => self.retry(call).await,
            // Why it was refused is in the log.
            Event::Update(update) => drop(self.update(&update).await),
            Event::Configure { slot, change } => self.change(slot, change).await,
            Event::Change(change) => (change.0)(&mut *self.core_mut().world),
            Event::Trap { slot } => self.doom(slot),
            Event::Stall { slot, span } => self.core_mut().stall(slot, span),
        }
    }

    async fn send_planned(&mut self, planned: &PlannedRequest) {
        let core = self.core_mut();
        let id = core.next_stream();
        if let Some(name) = core.request_names.get(&planned.number).cloned() {
            let line = [&planned.request.method[..], &planned.request.path[..]].join(&b' ');
            let thread = VmSlot::Worker(planned.worker);
            let step = core.note_on(thread, Verb::Request, |_core| Note {
                object: name.clone(),
                argument: text(&line),
                ..Note::default()
            });
            if let Some(recorder) = &mut core.recorder {
                recorder.requested(id, step);
            }
            core.request_has(&name, true);
            core.stream_names.insert(id.0, name);
        }
        if let Some(after) = planned.leaves_after {
            core.post_after(after, Event::Leave { stream: id });
        }
        self.begin(planned.worker, id, planned.request.clone()).await;
    }

    /// Hands the outcome of a call to whoever made it.
    pub(super) async fn answer(&mut self, call: CallId, outcome: Outcome) {
        let Some(in_flight) = self.core_mut().answered(call, &outcome) else {
            return;
        };
        if let Some(recorder) = &mut self.core_mut().recorder {
            recorder.is_answer(call);
        }
        let took = self.core().now().saturating_sub(in_flight.sent_at);
        match in_flight.owner {
            Owner::Router { stream } => self.upstream_answer(stream, outcome, took).await,
            Owner::HttpCall { vm, root_id, token } => {
                let attempts = match self.core_mut().decide_retry(call, in_flight, &outcome) {
                    Verdict::Later => return,
                    Verdict::Over { attempts } => attempts,
                };
                let limit = self.core().options.call_response_limit_bytes;
                let response = upstream::call_response(outcome, took, limit, attempts);
                self.call_answer(vm, root_id, token, response).await;
            }
        }
    }

    async fn tick(&mut self, vm: VmIndex, root_id: u32) {
        if let Some(root) = self.core_mut().vms[vm].roots.get_mut(&root_id) {
            root.tick_event = None;
            root.tick_awaited = None;
        }
        match self.enter_root(vm, Callback::Tick { root_id }).await {
            // The period is the gap between two ticks: the timer is set again only now.
            Called::Returned { .. } => self.core_mut().arm_tick(vm, root_id),
            Called::NotExported | Called::Failed => {}
        }
    }

    async fn queue_ready(&mut self, consumer: Consumer, token: u32) {
        if let Some(recorder) = &mut self.core_mut().recorder {
            recorder.is_notice((consumer.slot, token));
        }
        let Some(vm) = self.thread_mut(consumer.slot).vms.get(&consumer.key).copied() else {
            return;
        };
        if self.core().vms[vm].contexts.contains_key(&consumer.context_id) {
            self.enter_root(vm, Callback::QueueReady { root_id: consumer.context_id, token }).await;
        }
    }

    async fn time_out(&mut self, call: CallId) {
        let Some(in_flight) = self.core_mut().abandon(call) else {
            return;
        };
        match in_flight.owner {
            Owner::Router { stream } => self.upstream_timeout(stream).await,
            Owner::HttpCall { vm, root_id, token } => {
                self.call_answer(vm, root_id, token, Some(upstream::timeout_response())).await
            }
        }
    }

    /// Tells a root context what came of its call; `None` is a reset.
    pub(super) async fn call_answer(
        &mut self,
        vm: VmIndex,
        root_id: u32,
        token: u32,
        response: Option<CallResponse>,
    ) {
        let thread = self.core().vms[vm].role.slot();
        self.core_mut().note_on(thread, Verb::Response, |core| Note {
            object: core.recorder.as_ref().and_then(Recorder::cluster).unwrap_or_default(),
            observed: outcome_text(response.as_ref()),
            ..Note::default()
        });
        let Some(root) = self.core_mut().vms[vm].roots.get_mut(&root_id) else { return };
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (headers, body_size, trailers) = response.as_ref().map_or((0, 0, 0), |response| {
            (count(response.headers.len()), count(response.body.len()), count(response.trailers.len()))
        });
        if response.is_none() {
            root.status = upstream::RESET_STATUS;
        }
        root.call_response = response;
        self.enter(vm, Callback::HttpCallResponse { root_id, token, headers, body_size, trailers }).await;
        if let Some(root) = self.core_mut().vms[vm].roots.get_mut(&root_id) {
            root.call_response = None;
            root.status.1 = Bytes::new();
        }
        self.after_call(vm).await;
    }
}

/// The outcome of a call, for people.
fn outcome_text(response: Option<&CallResponse>) -> String {
    let Some(response) = response else {
        return "reset".to_owned();
    };
    let status = response.headers.first(b":status").map(text).unwrap_or_default();
    if response.body.is_empty() { status } else { format!("{status} {}", text(&response.body)) }
}
