//! A host that knows shared data and logs, and holds callbacks by a plan.

use std::{any::Any, collections::BTreeMap};

use bytes::Bytes;
use host_harness::abi::{
    Answer, BufferType, Callback, Go, HeaderMapType, Headers, Host, HostSlot, LocalResponse, MetricType,
    OutgoingGrpc, OutgoingHttpCall, Point, Status, Stop, StreamType, Trap, Vm, VmIndex, VmLimits,
};

use crate::common::guest;

/// At which places a callback is held, and how often in a row at each; places are counted from 1 as they are reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    at: Vec<usize>,
    times: usize,
}

impl Plan {
    pub(crate) fn never() -> Plan {
        Plan::default()
    }

    /// At each of these places once.
    pub(crate) fn at(places: impl IntoIterator<Item = usize>) -> Plan {
        Plan { at: places.into_iter().collect(), times: 1 }
    }

    /// At each of these places several times before it goes on.
    pub(crate) fn again_and_again(places: impl IntoIterator<Item = usize>, times: usize) -> Plan {
        Plan { times, ..Plan::at(places) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) said: Vec<String>,
    pub(crate) data: BTreeMap<Vec<u8>, (Bytes, u32)>,
    /// Places where a callback could have been held and went on.
    pub(crate) points: usize,
    /// Every hostcall that was carried out, in order.
    pub(crate) calls: Vec<&'static str>,
    plan: Plan,
    held: usize,
    chance: u32,
}

impl Recorder {
    fn did(&mut self, call: &'static str) {
        self.calls.push(call);
    }
}

fn refused<T>() -> Answer<T> {
    Err(Status::Unimplemented)
}

impl Host for Recorder {
    fn schedule_point(&mut self, _vm: VmIndex, _point: Point<'_>) -> Go {
        if self.plan.at.contains(&(self.points + 1)) && self.held < self.plan.times {
            self.held += 1;
            return Go::Hold;
        }
        self.held = 0;
        self.points += 1;
        Go::On
    }

    fn log(&mut self, _vm: VmIndex, _level: u32, message: &[u8]) -> Answer {
        self.did("log");
        self.said.push(String::from_utf8_lossy(message).into_owned());
        Ok(())
    }

    fn log_level(&mut self, _vm: VmIndex) -> u32 {
        2
    }

    fn wall_time_ns(&mut self, _vm: VmIndex) -> u64 {
        self.did("time");
        self.chance += 1;
        u64::from(999 + self.chance)
    }

    fn monotonic_time_ns(&mut self, _vm: VmIndex) -> u64 {
        self.did("time");
        self.chance += 1;
        u64::from(999 + self.chance)
    }

    fn random(&mut self, _vm: VmIndex, bytes: &mut [u8]) {
        self.did("random");
        self.chance += 1;
        let number = (999 + self.chance).to_le_bytes();
        bytes.iter_mut().zip(number.iter().cycle()).for_each(|(byte, number)| *byte = *number);
    }

    fn environment(&mut self, _vm: VmIndex) -> Vec<(String, String)> {
        Vec::new()
    }

    fn shared_data(&mut self, _vm: VmIndex, key: &[u8]) -> Answer<(Bytes, u32)> {
        self.did("get");
        self.data.get(key).cloned().ok_or(Status::NotFound)
    }

    fn set_shared_data(&mut self, _vm: VmIndex, key: &[u8], value: &[u8], _cas: u32) -> Answer {
        self.did("set");
        let cas = self.data.get(key).map_or(1, |(_, cas)| cas + 1);
        self.data.insert(key.to_vec(), (Bytes::copy_from_slice(value), cas));
        Ok(())
    }

    fn call_status(&mut self, _vm: VmIndex) -> (u32, Bytes) {
        (0, Bytes::new())
    }
    fn property(&mut self, _vm: VmIndex, _path: &[u8]) -> Answer<Bytes> {
        refused()
    }
    fn set_property(&mut self, _vm: VmIndex, _path: &[u8], _value: &[u8]) -> Answer {
        refused()
    }
    fn set_tick_period(&mut self, _vm: VmIndex, _period_ms: u32) -> Answer {
        refused()
    }
    fn set_effective_context(&mut self, _vm: VmIndex, _context_id: u32) -> Answer {
        refused()
    }
    fn done(&mut self, _vm: VmIndex) -> Answer {
        refused()
    }
    fn register_queue(&mut self, _vm: VmIndex, _name: &[u8]) -> Answer<u32> {
        refused()
    }
    fn resolve_queue(&mut self, _vm: VmIndex, _vm_id: &[u8], _name: &[u8]) -> Answer<u32> {
        refused()
    }
    fn dequeue(&mut self, _vm: VmIndex, _token: u32) -> Answer<Bytes> {
        refused()
    }
    fn push(&mut self, _vm: VmIndex, _token: u32, _item: &[u8]) -> Answer {
        refused()
    }
    fn post(&mut self, _vm: VmIndex) {}
    fn header(&mut self, _vm: VmIndex, _map: HeaderMapType, _name: &[u8]) -> Answer<Bytes> {
        refused()
    }
    fn headers(&mut self, _vm: VmIndex, _map: HeaderMapType) -> Answer<Headers> {
        refused()
    }
    fn headers_size(&mut self, _vm: VmIndex, _map: HeaderMapType) -> Answer<u32> {
        refused()
    }
    fn set_headers(&mut self, _vm: VmIndex, _map: HeaderMapType, _pairs: Headers) -> Answer {
        refused()
    }
    fn add_header(&mut self, _vm: VmIndex, _map: HeaderMapType, _name: &[u8], _value: &[u8]) -> Answer {
        refused()
    }
    fn replace_header(&mut self, _vm: VmIndex, _map: HeaderMapType, _name: &[u8], _value: &[u8]) -> Answer {
        refused()
    }
    fn remove_header(&mut self, _vm: VmIndex, _map: HeaderMapType, _name: &[u8]) -> Answer {
        refused()
    }
    fn buffer(&mut self, _vm: VmIndex, _buffer: BufferType, _start: usize, _length: usize) -> Answer<Bytes> {
        refused()
    }
    fn buffer_length(&mut self, _vm: VmIndex, _buffer: BufferType) -> Answer<usize> {
        refused()
    }
    fn set_buffer(
        &mut self,
        _vm: VmIndex,
        _buffer: BufferType,
        _start: usize,
        _length: usize,
        _value: &[u8],
    ) -> Answer {
        refused()
    }
    fn configuration(&mut self, _vm: VmIndex) -> Bytes {
        Bytes::new()
    }
    fn send_local_response(&mut self, _vm: VmIndex, _response: LocalResponse) -> Answer {
        refused()
    }
    fn continue_stream(&mut self, _vm: VmIndex, _stream: StreamType) -> Answer {
        refused()
    }
    fn close_stream(&mut self, _vm: VmIndex, _stream: StreamType) -> Answer {
        refused()
    }
    fn http_call(&mut self, _vm: VmIndex, _call: OutgoingHttpCall) -> Answer<u32> {
        refused()
    }
    fn grpc_call(
        &mut self,
        _vm: VmIndex,
        _call: OutgoingGrpc,
        _message: &[u8],
        _timeout_ms: u32,
    ) -> Answer<u32> {
        refused()
    }
    fn grpc_stream(&mut self, _vm: VmIndex, _stream: OutgoingGrpc) -> Answer<u32> {
        refused()
    }
    fn grpc_send(&mut self, _vm: VmIndex, _token: u32, _message: &[u8], _end: bool) -> Answer {
        refused()
    }
    fn grpc_cancel(&mut self, _vm: VmIndex, _token: u32) -> Answer {
        refused()
    }
    fn grpc_close(&mut self, _vm: VmIndex, _token: u32) -> Answer {
        refused()
    }
    fn define_metric(&mut self, _vm: VmIndex, _kind: MetricType, _name: &[u8]) -> Answer<u32> {
        refused()
    }
    fn increment_metric(&mut self, _vm: VmIndex, _id: u32, _offset: i64) -> Answer {
        refused()
    }
    fn record_metric(&mut self, _vm: VmIndex, _id: u32, _value: u64) -> Answer {
        refused()
    }
    fn metric(&mut self, _vm: VmIndex, _id: u32) -> Answer<u64> {
        refused()
    }
    fn call_foreign_function(&mut self, _vm: VmIndex, _name: &[u8], _argument: &[u8]) -> Answer<Bytes> {
        refused()
    }
    fn unimplemented(&mut self, _vm: VmIndex, _function: &'static str) {}
    fn exit(&mut self, _vm: VmIndex, _code: u32) {}
}

/// More than any test here holds its callbacks.
const MOST_HOLDS: usize = 100_000;

/// VMs of one guest, and the host that they share.
pub(crate) struct Bench {
    vms: Vec<Vm>,
    slot: HostSlot,
    host: Option<Recorder>,
    /// How often a callback was held since the bench was made.
    pub(crate) holds: usize,
}

impl Bench {
    pub(crate) fn new(body: &str) -> Bench {
        Bench::of(body, 1, VmLimits::default())
    }

    pub(crate) fn of(body: &str, vms: usize, limits: VmLimits) -> Bench {
        let module = guest(body);
        let slot = HostSlot::default();
        slot.lend(Box::new(Recorder::default()));
        let vms = (0..vms)
            .map(|index| Vm::new(&module, index, slot.clone(), limits.clone()).expect("the guest starts"));
        let vms = vms.collect();
        let mut bench = Bench { vms, slot, host: None, holds: 0 };
        bench.host = Some(bench.take_back());
        bench
    }

    pub(crate) fn host(&self) -> &Recorder {
        self.host.as_ref().expect("the host is here while no guest runs")
    }

    fn take_back(&mut self) -> Recorder {
        let host: Box<dyn Any> = self.slot.take_back().expect("the host was lent");
        *host.downcast().expect("the host that was lent")
    }

    /// Does something with a VM while the host is lent to it.
    pub(crate) fn lend<T>(&mut self, vm: usize, action: impl FnOnce(&mut Vm) -> T) -> T {
        self.slot.lend(Box::new(self.host.take().expect("the host is here")));
        let done = action(&mut self.vms[vm]);
        self.host = Some(self.take_back());
        done
    }

    pub(crate) fn plan(&mut self, plan: Plan) {
        let host = self.host.as_mut().expect("the host is here");
        (host.plan, host.points, host.held) = (plan, 0, 0);
    }

    /// One call of the tick: it may come to its end, be held or fail.
    pub(crate) fn call(&mut self, vm: usize) -> Result<Option<u32>, Stop> {
        self.lend(vm, |vm| vm.call(Callback::Tick { root_id: 1 }, true))
    }

    /// A whole tick of the first VM, which is called until it is no longer held.
    pub(crate) fn tick(&mut self, plan: Plan) -> Result<(), Trap> {
        self.plan(plan);
        loop {
            assert!(self.holds < MOST_HOLDS, "a callback that is gone on with comes further");
            match self.call(0) {
                Ok(_) => return Ok(()),
                Err(Stop::Held) => self.holds += 1,
                Err(Stop::Trap(trap)) => return Err(trap),
            }
        }
    }

    /// A whole tick of which nobody said that it may be held.
    pub(crate) fn plain_tick(&mut self) -> Result<(), Trap> {
        self.plan(Plan::never());
        match self.lend(0, |vm| vm.call(Callback::Tick { root_id: 1 }, false)) {
            Ok(_) => Ok(()),
            Err(Stop::Trap(trap)) => Err(trap),
            Err(Stop::Held) => panic!("nobody holds it"),
        }
    }

    pub(crate) fn freeze(&mut self) {
        self.vms.iter_mut().for_each(Vm::freeze);
    }

    /// Goes back to the frozen beginning, with a host that knows nothing.
    pub(crate) fn restore(&mut self) {
        self.host = Some(Recorder::default());
        for vm in 0..self.vms.len() {
            self.lend(vm, |vm| vm.restore(usize::MAX));
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.vms[0].memory_bytes()
    }

    /// Everything that a run did: what was said and done, and what is shared in the end.
    pub(crate) fn outcome(&self) -> Outcome {
        let host = self.host();
        (host.said.clone(), host.calls.clone(), host.data.clone(), self.memory_bytes())
    }
}

pub(crate) type Outcome = (Vec<String>, Vec<&'static str>, BTreeMap<Vec<u8>, (Bytes, u32)>, usize);
