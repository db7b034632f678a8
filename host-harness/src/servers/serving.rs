//! A loopback listener with a thread of its own, which ends with its owner.
//!
//! A handler or body that fails with [`Abort`] resets the connection (RST, not FIN): that is how a server dies, and
//! hyper alone would close politely.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    thread::JoinHandle,
};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
};

/// A storm of downloads opens hundreds of connections at once; a connection that overflows the backlog is only
/// tried again after a second.
const BACKLOG: u32 = 4096;

/// The body of every answer.
pub(super) type ServedBody = UnsyncBoxBody<Bytes, Abort>;

/// Ends the connection with a reset.
#[derive(Debug, thiserror::Error)]
#[error("the server resets this connection")]
pub(super) struct Abort;

/// A running server.
#[derive(Debug)]
pub(super) struct Serving {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

// === impl Serving ===

impl Serving {
    /// Binds `127.0.0.1:0` and serves it until dropped. `handler` is called once a request's headers are there.
    ///
    /// Errors: what binding, or starting the thread and its runtime, answered.
    pub(super) fn start<H, F>(name: &str, handler: H) -> io::Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Response<ServedBody>, Abort>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _in_runtime = runtime.enter();
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            socket.listen(BACKLOG)?
        };
        let addr = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, handler) => {}
                    // Resolves when the sender is dropped: nothing is ever sent.
                    _ = stopped => {}
                }
            });
            // Dropping the runtime drops every connection.
        })?;
        Ok(Self { addr, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was already printed; a second one while dropping would abort the process.
            let _ = thread.join();
        }
    }
}

async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<ServedBody>, Abort>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, handler.clone()));
            }
            // Out of file descriptors, or the client is gone already: the listener itself is fine.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    }
}

async fn serve<H, F>(stream: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Result<Response<ServedBody>, Abort>> + Send + 'static,
{
    // Without this an answer in two writes waits for the client's delayed ACK.
    let _ = stream.set_nodelay(true);
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(handler));
    if let Err(error) = (&mut connection).await
        && error.is_user()
    {
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}
