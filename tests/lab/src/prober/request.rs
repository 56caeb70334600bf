//! The requests: small reads and, where the client may, a write to an object of the lane's own.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::json;

use super::connection::Ask;
use super::outcome::Mode;

pub const NAMESPACE: &str = "lab-prober";

/// Small objects that every cluster has. The first two go down to etcd, as kubectl's do, the others come out of the API
/// server's watch cache, as a controller's do: a quorum read for each would be half of the lab's load.
const READS: [&str; 5] = [
    "/api/v1/namespaces/kube-system",
    "/api/v1/namespaces/default/services/kubernetes",
    "/api/v1/namespaces/kube-system?resourceVersion=0",
    "/api/v1/namespaces/default/services/kubernetes?resourceVersion=0",
    "/api/v1/namespaces/default?resourceVersion=0",
];

/// One write in so many requests: enough to see that writes go through, little enough for a slow disk. No multiple of the
/// number of reads, so that each kind of read gets its turn.
const WRITE_EVERY: u64 = 16;

/// What a lane asks.
#[derive(Clone, Debug)]
pub enum Work {
    Reads,
    /// Also patches a ConfigMap of this name. No two lanes share one, so no conflict can look like a failure.
    ReadsAndWrites(String),
    /// The last line of a pod's log, which the API server fetches from the pod's kubelet.
    Log {
        namespace: String,
        pod: String,
    },
}

impl Work {
    /// The request of this turn, and its short name for the report.
    pub fn request(&self, turn: u64, address: SocketAddr, mode: Mode) -> (String, Ask) {
        match self {
            Work::ReadsAndWrites(name) if turn % WRITE_EVERY == WRITE_EVERY - 1 => {
                let data = json!({ "turn": turn.to_string() });
                (
                    format!("PATCH configmap {name}"),
                    build(address, mode, apply("configmaps", name, "ConfigMap", Some(data))),
                )
            }
            Work::Log { namespace, pod } => {
                let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?tailLines=1");
                (format!("GET {path}"), build(address, mode, get(&path)))
            }
            Work::Reads | Work::ReadsAndWrites(_) => {
                let path = READS[usize::try_from(turn % READS.len() as u64).unwrap_or_default()];
                (format!("GET {path}"), build(address, mode, get(path)))
            }
        }
    }
}

/// A request that says nothing yet about how it travels.
pub struct Plain {
    method: Method,
    path: String,
    body: Vec<u8>,
}

pub fn get(path: &str) -> Plain {
    Plain { method: Method::GET, path: path.to_owned(), body: Vec::new() }
}

/// The namespace of the lanes' objects.
pub fn namespace() -> Plain {
    apply("", NAMESPACE, "Namespace", None)
}

/// Server-side apply creates what is missing and changes what is there: no lane depends on an earlier one.
fn apply(resource: &str, name: &str, kind: &str, data: Option<serde_json::Value>) -> Plain {
    let mut object = json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name } });
    let folder = match data {
        Some(data) => {
            object["data"] = data;
            format!("/api/v1/namespaces/{NAMESPACE}/{resource}/{name}")
        }
        None => format!("/api/v1/namespaces/{name}"),
    };
    let path = format!("{folder}?fieldManager=lab-prober&force=true");
    Plain { method: Method::PATCH, path, body: object.to_string().into_bytes() }
}

/// HTTP/1.1 wants the host in a header, HTTP/2 in the target.
pub fn build(address: SocketAddr, mode: Mode, plain: Plain) -> Ask {
    let mut request = Request::new(Full::new(Bytes::from(plain.body)));
    *request.method_mut() = plain.method.clone();
    let target = if mode == Mode::Http2 { format!("https://{address}{}", plain.path) } else { plain.path };
    // All parts are ours: addresses and names that Kubernetes itself accepted.
    if let Ok(uri) = target.parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    if mode != Mode::Http2
        && let Ok(host) = address.to_string().parse()
    {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, header::HeaderValue::from_static("lab-prober"));
    if plain.method == Method::PATCH {
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/apply-patch+yaml"));
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(work: &Work) -> Vec<String> {
        let address = "172.30.0.1:6443".parse().unwrap();
        (0..32).map(|turn| work.request(turn, address, Mode::Fresh).0).collect()
    }

    #[test]
    fn some_requests_are_writes_for_those_who_may() {
        let writes = |work: &Work| operations(work).iter().filter(|operation| operation.starts_with("PATCH")).count();
        assert_eq!(writes(&Work::ReadsAndWrites("x".to_owned())), 2);
        assert_eq!(writes(&Work::Reads), 0);
    }

    #[test]
    fn the_host_is_where_each_protocol_wants_it() {
        let address: SocketAddr = "172.30.0.11:6443".parse().unwrap();
        let old = build(address, Mode::KeptAlive, get("/api"));
        assert_eq!(
            (old.uri().to_string(), old.headers()[header::HOST].to_str().unwrap()),
            ("/api".to_owned(), "172.30.0.11:6443")
        );
        let new = build(address, Mode::Http2, get("/api"));
        assert_eq!(new.uri().to_string(), "https://172.30.0.11:6443/api");
        assert!(!new.headers().contains_key(header::HOST));
    }
}
