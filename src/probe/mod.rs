//! ADAPTER: TLS as a stranger sees it: what is served, and what is said to a client certificate.
//!
//! The server is never verified here, so nothing secret is ever sent: no token, no body, no key.

mod tls;

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::pki::{Certificate, PkiError};
use crate::plan::Verdict;

/// Why an endpoint gave no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No connection, a reset, or no HTTP.
    #[error("{address} does not answer: {problem}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What happened.
        problem: String,
    },
    /// Nothing within the time given.
    #[error("{address} does not answer within {} ms", .limit.as_millis())]
    Timeout {
        /// Host and port.
        address: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The server ended the TLS session because of our client certificate.
    #[error("{address} refuses the client certificate: {problem}")]
    Refused {
        /// Host and port.
        address: String,
        /// The alert.
        problem: String,
    },
    /// The server's name is no DNS name and no IP address.
    #[error("{0} is no server name")]
    ServerName(String),
    /// The client certificate and key cannot be used.
    #[error("cannot use the client certificate: {0}")]
    Credential(String),
    /// A certificate served cannot be read.
    #[error("{address} serves a certificate that cannot be read")]
    Certificate {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        source: PkiError,
    },
}

/// What a server shows.
#[derive(Clone, Debug)]
pub struct ServedChain {
    /// In the order sent: the leaf first.
    pub certificates: Vec<Certificate>,
    /// `TLSv1_3` …
    pub version: String,
}

/// Completes one handshake and returns the chain served. The server proves that it holds the leaf's key; the chain is not
/// verified: that is the caller's business.
///
/// # Errors
/// No answer, or a certificate that cannot be read.
pub async fn handshake(address: &str, server_name: &str, limit: Duration) -> Result<ServedChain, ProbeError> {
    let (stream, served) = limited(address, limit, connect(address, server_name, None)).await?;
    let certificates: Result<Vec<Certificate>, PkiError> =
        served.iter().map(|der| Certificate::from_der(der.as_ref())).collect();
    let version = stream.get_ref().1.protocol_version();
    Ok(ServedChain {
        certificates: certificates.map_err(|source| ProbeError::Certificate { address: address.to_owned(), source })?,
        version: version.map(|version| format!("{version:?}")).unwrap_or_default(),
    })
}

/// What the server says to a client certificate: a GET of `path` on a fresh connection, without session resumption.
pub async fn client_verdict(
    address: &str,
    server_name: &str,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    path: &str,
    limit: Duration,
) -> Verdict {
    let asked = limited(address, limit, get(address, server_name, Some((chain, key)), path)).await;
    match asked {
        Ok(401) | Err(ProbeError::Refused { .. }) => Verdict::Refused,
        Ok(_) => Verdict::Accepted,
        Err(error) => {
            tracing::debug!(%error, "no verdict");
            Verdict::Unreachable
        }
    }
}

/// The HTTP status of a GET without a client certificate (health endpoints).
///
/// # Errors
/// No answer.
pub async fn status(address: &str, server_name: &str, path: &str, limit: Duration) -> Result<u16, ProbeError> {
    limited(address, limit, get(address, server_name, None, path)).await
}

/// The HTTP status of a GET without TLS, for health endpoints on the loopback address (etcd's, as kubeadm sets it up).
///
/// # Errors
/// No answer.
pub async fn plain_status(address: &str, path: &str, limit: Duration) -> Result<u16, ProbeError> {
    let asked = async {
        let tcp = TcpStream::connect(address).await.map_err(|error| failed(address, &error))?;
        ask(tcp, address, address, path).await
    };
    limited(address, limit, asked).await
}

/// The host of `host:port`, without the brackets of an IPv6 address.
#[must_use]
pub fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host.trim_matches(['[', ']']))
}

type Credential = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

async fn connect(
    address: &str,
    server_name: &str,
    credential: Option<Credential>,
) -> Result<(TlsStream<TcpStream>, Vec<CertificateDer<'static>>), ProbeError> {
    let (connector, recorded) = tls::connector(credential).map_err(ProbeError::Credential)?;
    let name = rustls_pki_types::ServerName::try_from(server_name.to_owned())
        .map_err(|_| ProbeError::ServerName(server_name.to_owned()))?;
    let tcp = TcpStream::connect(address).await.map_err(|error| failed(address, &error))?;
    let stream = connector.connect(name, tcp).await.map_err(|error| failed(address, &error))?;
    Ok((stream, recorded.take()))
}

async fn get(address: &str, server_name: &str, credential: Option<Credential>, path: &str) -> Result<u16, ProbeError> {
    let (stream, _) = connect(address, server_name, credential).await?;
    ask(stream, address, server_name, path).await
}

async fn ask<S>(stream: S, address: &str, host: &str, path: &str) -> Result<u16, ProbeError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(address, &error))?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, host)
        .header(hyper::header::USER_AGENT, concat!("certctl/", env!("CARGO_PKG_VERSION")))
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(address, &error))?;
    // Both at once: the request is only sent while the connection is polled, and its own error says more than the sender's.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => answer.map(|answer| answer.status().as_u16()).map_err(|error| failed(address, &error)),
        ended = &mut connection => {
            ended.map_err(|error| failed(address, &error))?;
            answer.await.map(|answer| answer.status().as_u16()).map_err(|error| failed(address, &error))
        }
    }
}

async fn limited<T>(
    address: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    let timeout = |_| ProbeError::Timeout { address: address.to_owned(), limit };
    tokio::time::timeout(limit, work).await.map_err(timeout)?
}

/// A refusal is told from silence by the TLS alert, which with TLS 1.3 comes after the handshake, as an error of the request.
fn failed(address: &str, error: &(dyn std::error::Error + 'static)) -> ProbeError {
    let address = address.to_owned();
    match tls::certificate_alert(error) {
        Some(alert) => ProbeError::Refused { address, problem: alert },
        None => ProbeError::Unreachable { address, problem: tls::in_full(error) },
    }
}

#[cfg(test)]
mod tests;
