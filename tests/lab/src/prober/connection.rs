//! One connection to a target: TCP, TLS if there are credentials, HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::kubeconfig::Credentials;
use super::outcome::{Answer, Failure, Mode};

pub type Ask = Request<Full<Bytes>>;

/// After this long without a complete answer a request has failed.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an error's text goes into the report.
const MESSAGE_LIMIT: usize = 200;

pub struct Connection {
    sender: Sender,
    credentials: Option<Rc<Credentials>>,
    /// Ends the connection at once when a request is given up. None once it may end by itself.
    driver: Option<AbortHandle>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What became of a request that was handed to a connection.
pub enum Sent {
    Done(Result<Reply, Failure>),
    /// The connection was gone before a byte of the request was written, so it may be asked again elsewhere.
    NotSent(Ask),
}

pub struct Reply {
    pub answer: Answer,
    pub body: Bytes,
}

impl Connection {
    pub async fn open(
        address: SocketAddr,
        credentials: Option<Rc<Credentials>>,
        mode: Mode,
    ) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(address).await.map_err(|error| Failure::Connect(error.to_string()))?;
        // Without this a small request may wait for the answer's acknowledgement.
        stream.set_nodelay(true).map_err(|error| Failure::Connect(error.to_string()))?;
        let (sender, driver) = match &credentials {
            None => handshake(stream, mode).await?,
            Some(credentials) => {
                let config = if mode == Mode::Http2 { &credentials.http2 } else { &credentials.http1 };
                let connector = TlsConnector::from(Arc::clone(config));
                let name = ServerName::IpAddress(address.ip().into());
                let stream = connector.connect(name, stream).await.map_err(|error| Failure::Tls(error.to_string()))?;
                handshake(stream, mode).await?
            }
        };
        Ok(Connection { sender, credentials, driver: Some(driver) })
    }

    /// Whether the connection was made with just these credentials: a client whose kubeconfig changed connects anew.
    pub fn belongs_to(&self, credentials: Option<&Rc<Credentials>>) -> bool {
        match (&self.credentials, credentials) {
            (Some(ours), Some(theirs)) => Rc::ptr_eq(ours, theirs),
            (None, None) => true,
            _ => false,
        }
    }

    pub async fn send(&mut self, request: Ask) -> Sent {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => return Sent::NotSent(request),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => return Sent::NotSent(request),
            },
        };
        match sent {
            Ok(response) => Sent::Done(read(response).await),
            Err(mut error) => match error.take_message() {
                Some(request) => Sent::NotSent(request),
                None => Sent::Done(Err(http_failure(&error.into_error()))),
            },
        }
    }

    /// Lets the connection close properly in the background.
    pub fn finish(mut self) {
        self.driver = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

async fn handshake<S>(stream: S, mode: Mode) -> Result<(Sender, AbortHandle), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if mode == Mode::Http2 {
        let (sender, driver) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(|error| http_failure(&error))?;
        Ok((Sender::Http2(sender), tokio::spawn(driver).abort_handle()))
    } else {
        let (sender, driver) = http1::handshake(io).await.map_err(|error| http_failure(&error))?;
        Ok((Sender::Http1(sender), tokio::spawn(driver).abort_handle()))
    }
}

async fn read(response: Response<Incoming>) -> Result<Reply, Failure> {
    let (status, retry_after) = (response.status(), response.headers().contains_key(header::RETRY_AFTER));
    // An answer that breaks off is no answer, whatever its status says.
    let body = response.into_body().collect().await.map_err(|error| http_failure(&error))?.to_bytes();
    let message = if status.as_u16() < 400 { String::new() } else { error_text(status, &body) };
    Ok(Reply { answer: Answer { status: status.as_u16(), retry_after, message }, body })
}

/// The message of a Kubernetes Status, or the beginning of whatever came instead.
fn error_text(status: StatusCode, body: &[u8]) -> String {
    let object: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = object.as_ref().and_then(|object| object["message"].as_str());
    let text = match message {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    // The kubelet's messages have line ends in them.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        status.canonical_reason().unwrap_or_default().to_owned()
    } else {
        text.chars().take(MESSAGE_LIMIT).collect()
    }
}

/// hyper's own text names the step, its source the reason.
fn http_failure(error: &hyper::Error) -> Failure {
    match std::error::Error::source(error) {
        Some(source) => Failure::Http(format!("{error}: {source}")),
        None => Failure::Http(error.to_string()),
    }
}

/// Asks once on a connection of its own: for what the prober needs to know itself, which is not counted.
pub async fn ask_once(address: SocketAddr, credentials: Rc<Credentials>, request: Ask) -> Result<Reply, Failure> {
    let exchange = async {
        let mut connection = Connection::open(address, Some(credentials), Mode::Fresh).await?;
        match connection.send(request).await {
            Sent::Done(reply) => reply,
            Sent::NotSent(_) => Err(Failure::Http("the connection closed at once".to_owned())),
        }
    };
    tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or(Err(Failure::Timeout(TIMEOUT)))
}

/// Asks once and takes nothing but a success.
pub async fn fetch(address: SocketAddr, credentials: Rc<Credentials>, request: Ask) -> Result<Bytes> {
    let path = request.uri().path().to_owned();
    let reply =
        ask_once(address, credentials, request).await.map_err(|failure| anyhow::anyhow!("{path}: {failure}"))?;
    if reply.answer.status >= 400 {
        bail!("{path}: status {}: {}", reply.answer.status, reply.answer.message);
    }
    Ok(reply.body)
}

/// The address in `host:port`; the lab has no name service, so the host is an address too.
pub fn address(server: &str) -> Result<SocketAddr> {
    server.parse().with_context(|| format!("`{server}` is no address with a port"))
}
