//! The wire to the API server: kube's own client on sockets that notice a machine that lost power.
//!
//! Such a machine says nothing more, so its connections stay open until somebody asks. The kernel asks here, so that a watch that waits
//! and a request that was sent both end after about ten seconds.

use std::time::Duration;

use hyper::Request;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};
use tower_http::decompression::DecompressionLayer;
use tower_http::trace::{DefaultOnFailure, TraceLayer};
use tracing::Level;

/// Silence after which the kernel asks whether the other side is there (tcp(7), `TCP_KEEPIDLE`).
const IDLE: Duration = Duration::from_secs(5);
/// Pause between two such questions (`TCP_KEEPINTVL`).
const INTERVAL: Duration = Duration::from_secs(3);
/// Questions without an answer after which a connection is given up (`TCP_KEEPCNT`), where the next limit does not come first.
const PROBES: u32 = 3;
/// Longest time without an acknowledgement (`TCP_USER_TIMEOUT`). It is what ends a request that was sent to a machine without power: a
/// socket with unacknowledged data sends no keep-alive probes, and would be given up after 15 minutes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// The client that `Client::try_from` would make (`kube_client::client::builder`), over sockets of our own. HTTP/1.1, as there.
///
/// A connection through a proxy ends at the proxy, so it is kube's own.
///
/// # Errors
/// As `Client::try_from`: a credential, CA or header of the configuration that cannot be used.
pub(super) fn client(config: Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(sockets())?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new().no_br().no_deflate().no_zstd().gzip(!config.disable_compression))
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(
            // What fails is returned and told by whoever asked: here it is a detail.
            TraceLayer::new_for_http()
                .make_span_with(|request: &Request<Body>| {
                    tracing::debug_span!("HTTP", method = %request.method(), url = %request.uri())
                })
                .on_failure(DefaultOnFailure::new().level(Level::DEBUG)),
        )
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

/// Makes the sockets.
fn sockets() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // https is the next layer's business.
    connector.enforce_http(false);
    connector.set_keepalive(Some(IDLE));
    connector.set_keepalive_interval(Some(INTERVAL));
    connector.set_keepalive_retries(Some(PROBES));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hyper::http::{HeaderValue, header};
    use kube::config::AuthInfo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tower::Service as _;

    use super::*;

    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    /// Reads one request's head as a set of lines: the order of headers means nothing.
    async fn head(stream: &mut TcpStream) -> BTreeSet<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    /// Everything that a kubeconfig can put into a request.
    fn config(address: &str) -> Config {
        let mut config = Config::new(format!("http://{address}/base").parse().unwrap());
        config.headers.push((header::USER_AGENT, HeaderValue::from_static("certctl/1 (test)")));
        config.auth_info =
            AuthInfo { token: Some("secret".into()), impersonate: Some("jane".into()), ..AuthInfo::default() };
        config
    }

    fn get() -> Request<Vec<u8>> {
        Request::get("/version").body(Vec::new()).unwrap()
    }

    #[tokio::test]
    async fn the_kernel_asks_whether_the_other_side_is_there_and_gives_up_in_time() {
        let (_listener, address) = listener().await;
        let stream = sockets().call(format!("http://{address}").parse().unwrap()).await.unwrap();
        let socket = socket2::SockRef::from(stream.inner());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
    }

    #[tokio::test]
    async fn the_client_uses_those_sockets() {
        let (listener, address) = listener().await;
        let client = client(config(&address)).unwrap();
        let request = tokio::spawn(async move { client.request_text(get()).await });
        let (mut stream, peer) = listener.accept().await.unwrap();
        head(&mut stream).await;
        // Timer 1 runs until what was sent is acknowledged, at most 200 ms.
        let timer = loop {
            let timer = timer(peer.port());
            if timer != "01" {
                break timer;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(timer, "02", "the kernel runs no keep-alive timer for the client's connection");
        request.abort();
    }

    /// The timer that the kernel runs for the connection from a local port: column `tr` of /proc/net/tcp (`get_tcp4_sock` in
    /// `net/ipv4/tcp_ipv4.c`).
    fn timer(port: u16) -> String {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let local = format!("0100007F:{port:04X}");
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.into_iter().find(|fields| fields.get(1) == Some(&local.as_str())).unwrap();
        line[5].split(':').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_request_says_what_kubes_own_client_says() {
        let (listener, address) = listener().await;
        let mut heads = Vec::new();
        for client in [Client::try_from(config(&address)).unwrap(), client(config(&address)).unwrap()] {
            let request = tokio::spawn(async move { client.request_text(get()).await });
            let (mut stream, _) = listener.accept().await.unwrap();
            heads.push(head(&mut stream).await);
            request.abort();
        }
        assert_eq!(heads[0], heads[1]);
        assert!(heads[1].contains("GET /base/version HTTP/1.1"), "{:?}", heads[1]);
        assert!(heads[1].contains("authorization: Bearer secret"), "{:?}", heads[1]);
    }

    #[tokio::test]
    async fn an_api_server_that_is_busy_is_asked_again() {
        let (listener, address) = listener().await;
        let client = client(config(&address)).unwrap();
        let request = tokio::spawn(async move { client.request_text(get()).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        let busy = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(busy).await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        assert_eq!(request.await.unwrap().unwrap(), "ok");
    }

    #[tokio::test]
    async fn a_proxy_of_the_kubeconfig_is_asked_for_the_connection() {
        let (listener, address) = listener().await;
        let mut config = config("10.0.0.1:6443");
        config.cluster_url = "https://10.0.0.1:6443".parse().unwrap();
        config.proxy_url = Some(format!("http://{address}").parse().unwrap());
        let client = client(config).unwrap();
        let request = tokio::spawn(async move { client.request_text(get()).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(head(&mut stream).await.contains("CONNECT 10.0.0.1:6443 HTTP/1.1"));
        request.abort();
    }
}
