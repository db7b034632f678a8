//! A world in real time: every call is real HTTP/1.1 over loopback, made by a background runtime. It has no gRPC.
//!
//! Each call has a connection of its own, without a pool, so that the phase in which a connection fails (no connection,
//! before the headers, in the body) is seen exactly; Envoy's answer depends on it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, client::conn::http1, header::HeaderMap, http};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use super::{Call, CallId, Outcome, Refusal, Response, Sent, World};
use crate::abi::Headers;

/// A little more than Envoy's limit for the body of an HTTP call, so that a larger body is still seen to be too large.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Longest sleep at once; a wait without an end is made of these.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// Clusters that are real servers.
#[derive(Debug)]
pub struct Live {
    began: Instant,
    epoch: Duration,
    clusters: BTreeMap<String, SocketAddr>,
    calls: BTreeMap<CallId, JoinHandle<()>>,
    outcomes: Receiver<Answered>,
    answer: Sender<Answered>,
    // Last, so that no call outlives the fields above.
    runtime: Option<Runtime>,
}

type Answered = (CallId, Outcome);

// === impl Live ===

impl Live {
    /// A world without clusters, which begins now.
    ///
    /// Errors: the system gives no threads for the background runtime.
    pub fn new() -> anyhow::Result<Live> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("live-world")
            .enable_all()
            .build()
            .context("the background runtime cannot be started")?;
        let (answer, outcomes) = mpsc::channel();
        Ok(Live {
            began: Instant::now(),
            epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            clusters: BTreeMap::new(),
            calls: BTreeMap::new(),
            outcomes,
            answer,
            runtime: Some(runtime),
        })
    }

    /// Adds a cluster with one host.
    #[must_use]
    pub fn cluster(mut self, name: &str, address: SocketAddr) -> Live {
        self.set_cluster(name, address);
        self
    }

    /// Adds a cluster, or moves it to another host.
    pub fn set_cluster(&mut self, name: &str, address: SocketAddr) {
        self.clusters.insert(name.to_owned(), address);
    }
}

impl World for Live {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn epoch(&self) -> Duration {
        self.epoch
    }

    fn send(&mut self, call: &Call) -> Result<Sent, Refusal> {
        let address = *self.clusters.get(&call.cluster).ok_or(Refusal::UnknownCluster)?;
        let runtime = self.runtime.as_ref().ok_or(Refusal::NoHost)?;
        let answer = self.answer.clone();
        let call = call.clone();
        let id = call.id;
        let task = runtime.spawn(async move {
            let outcome = exchange(address, call).await;
            // The world may be gone by now.
            let _ = answer.send((id, outcome));
        });
        self.calls.insert(id, task);
        Ok(Sent::Pending)
    }

    fn cancel(&mut self, call: CallId) {
        if let Some(task) = self.calls.remove(&call) {
            task.abort();
        }
    }

    fn wait(&mut self, until: Duration) -> Option<(CallId, Outcome)> {
        loop {
            let left = until.saturating_sub(self.now()).min(MAX_SLEEP);
            match self.outcomes.recv_timeout(left) {
                // A cancelled call may have been answered just before.
                Ok((id, outcome)) if self.calls.remove(&id).is_some() => return Some((id, outcome)),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if self.now() < until => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn is_pending(&self) -> bool {
        !self.calls.is_empty()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn exchange(address: SocketAddr, call: Call) -> Outcome {
    let Ok(stream) = TcpStream::connect(address).await else {
        return Outcome::ConnectFailure;
    };
    let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(stream)).await else {
        return Outcome::ConnectFailure;
    };
    let connection = tokio::spawn(connection);
    let outcome = match request(call) {
        // What cannot be written as HTTP/1.1 fails in Envoy's codec, which ends the connection.
        Err(_) => Outcome::ResetBeforeHeaders,
        Ok(request) => match sender.send_request(request).await {
            Err(_) => Outcome::ResetBeforeHeaders,
            Ok(response) => read(response).await,
        },
    };
    connection.abort();
    outcome
}

fn request(call: Call) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut builder = Request::builder();
    for (name, value) in &call.headers {
        builder = match name.as_slice() {
            b":method" => builder.method(value.as_slice()),
            b":path" => builder.uri(value.as_slice()),
            b":authority" => builder.header("host", value.as_slice()),
            [b':', ..] => builder,
            // hyper frames the body by itself.
            b"content-length" | b"transfer-encoding" => builder,
            _ => builder.header(name.as_slice(), value.as_slice()),
        };
    }
    builder.body(Full::new(call.body))
}

async fn read(response: hyper::Response<Incoming>) -> Outcome {
    let (parts, mut body) = response.into_parts();
    let mut whole =
        Response { status: parts.status.as_u16(), headers: headers(&parts.headers), ..Response::default() };
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole.body = bytes.freeze();
            return Outcome::ResetAfterHeaders(whole);
        };
        match frame.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => whole.trailers.extend(frame.trailers_ref().map(headers).unwrap_or_default()),
        }
        if bytes.len() > MAX_BODY_BYTES {
            break;
        }
    }
    whole.body = bytes.freeze();
    Outcome::Response(whole)
}

fn headers(map: &HeaderMap) -> Headers {
    map.iter().map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}
