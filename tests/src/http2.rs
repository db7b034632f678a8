//! One request over HTTP/2, as Envoy takes it without TLS.

use std::{net::SocketAddr, time::Duration};

use h2::client;
use http::{HeaderValue, Method, Request, Uri};
use tokio::{net::TcpStream, runtime, time};

/// Far beyond what anything here takes; only a hang meets it.
const BOUND: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// In order; names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole of it.
    pub body: Vec<u8>,
}

/// Sends a request on a connection of its own. Errors: what HTTP/2 does not allow, or the stream's or connection's end, in words.
pub fn send(
    addr: SocketAddr,
    method: &str,
    authority: &str,
    path: &str,
    headers: &[(String, String)],
) -> Result<Response, String> {
    send_pieces(addr, method, authority, path, headers, &[], &[])
}

/// The same with a body, each piece of which is a frame of its own, and trailers.
pub fn send_pieces(
    addr: SocketAddr,
    method: &str,
    authority: &str,
    path: &str,
    headers: &[(String, String)],
    pieces: &[&[u8]],
    trailers: &[(&'static str, &'static str)],
) -> Result<Response, String> {
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let exchange = async {
        let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build();
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        *request.uri_mut() = uri.map_err(|error| error.to_string())?;
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            request
                .headers_mut()
                .append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|error| error.to_string())?);
        }
        let stream = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
        exchange(stream, request, pieces, trailers).await.map_err(|error| error.to_string())
    };
    runtime.block_on(async { time::timeout(BOUND, exchange).await.map_err(|_| "no answer".to_owned())? })
}

async fn exchange(
    stream: TcpStream,
    request: Request<()>,
    pieces: &[&[u8]],
    trailers: &[(&'static str, &'static str)],
) -> Result<Response, h2::Error> {
    let (mut sender, connection) = client::handshake(stream).await?;
    tokio::spawn(connection);
    let is_bare = pieces.is_empty() && trailers.is_empty();
    let (response, mut body) = sender.send_request(request, is_bare)?;
    for (at, piece) in pieces.iter().enumerate() {
        let is_last = at + 1 == pieces.len() && trailers.is_empty();
        // Who refuses a request does not wait for its end.
        if body.send_data(bytes::Bytes::copy_from_slice(piece), is_last).is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    if !trailers.is_empty() {
        let trailers = trailers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let _ = body.send_trailers(trailers.collect());
    }
    let (head, mut incoming) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = incoming.data().await {
        let chunk = chunk?;
        let _ = incoming.flow_control().release_capacity(chunk.len());
        body.extend_from_slice(&chunk);
    }
    let headers =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    Ok(Response { status: head.status.as_u16(), headers: headers.collect(), body })
}

// === impl Response ===

impl Response {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }
}
