//! etcd of this node through its own API: a copy of its data, as `etcdctl snapshot save` makes it (`client/v3/snapshot`).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::atomic::{Draft, private_folder, remove_leftovers};
use super::error::{NodeError, in_full};
use super::layout::Layout;
use crate::pki::hex;

/// Longest wait for one answer, and for the next piece of a snapshot.
const ANSWER: Duration = Duration::from_secs(20);
/// What must stay free on the file system beside the snapshot, in bytes: etcd's own data is often there too.
const SPARE: u64 = 64 * 1024 * 1024;
/// The trust and the client of kubeadm's own health checks, under `/etc/kubernetes/pki/etcd`.
const FOLDER: &str = "/etc/kubernetes/pki/etcd";

// Messages of `api/etcdserverpb/rpc.proto`, with the fields that matter here.

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(int64, tag = "3")]
    db_size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SnapshotResponse {
    #[prost(bytes = "vec", tag = "3")]
    blob: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberListRequest {
    /// True: the answer is that of the quorum, and there is none without one.
    #[prost(bool, tag = "1")]
    linearizable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Member {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bool, tag = "5")]
    is_learner: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberListResponse {
    #[prost(message, repeated, tag = "2")]
    members: Vec<Member>,
}

/// A snapshot that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSnapshot {
    /// Size of the file.
    pub bytes: u64,
    /// Revision of the data when the snapshot was begun; the snapshot holds it and maybe some later ones.
    pub revision: i64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// A connection to one member.
pub struct Etcd {
    address: String,
    client: Grpc<Channel>,
}

impl Etcd {
    /// Connects to the member at `address` (an IP address and a port) with the node's own files.
    ///
    /// # Errors
    /// The files of `pki/etcd` cannot be used, or nothing answers.
    pub async fn connect(layout: &Layout, address: &str) -> Result<Self, NodeError> {
        let failed = |problem: String| NodeError::Etcd { address: address.to_owned(), problem };
        let connector = TlsConnector::from(Arc::new(client_config(layout)?));
        let origin: Uri = format!("https://{address}").parse().map_err(|_| failed("no address".into()))?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let target = address.to_owned();
        let dial = tower::service_fn(move |_: Uri| {
            let (target, connector, name) = (target.clone(), connector.clone(), name.clone());
            async move {
                let stream = connector.connect(name, TcpStream::connect(target).await?).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        // TLS is the connector's business, so the channel must not know of it; the origin is what etcd is told.
        let endpoint = Endpoint::from_static("http://etcd").origin(origin).connect_timeout(ANSWER);
        let channel = endpoint.connect_with_connector(dial).await.map_err(|error| failed(in_full(&error)))?;
        Ok(Self { address: address.to_owned(), client: Grpc::new(channel) })
    }

    /// Saves the member's data in `path`: readable by root alone, in place only when it is whole and its checksum is right.
    ///
    /// # Errors
    /// Too little space, a call that fails, a snapshot that is not what etcd sent, or a file that cannot be written.
    pub async fn save(&mut self, path: &Path) -> Result<EtcdSnapshot, NodeError> {
        let status: StatusResponse = self.status().await?;
        let folder = path.parent().unwrap_or(path);
        private_folder(folder)?;
        // A crash may have left half a snapshot, and those are large.
        remove_leftovers(folder)?;
        self.enough_space(folder, u64::try_from(status.db_size).unwrap_or_default())?;
        let mut draft = Draft::open(path)?;
        let mut digests = Digests::new();
        let call = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
        self.ready().await?;
        let codec = ProstCodec::<Empty, SnapshotResponse>::default();
        let answer = within(&self.address, self.client.server_streaming(Request::new(Empty {}), call, codec)).await?;
        let mut pieces = answer.into_inner();
        while let Some(piece) = within(&self.address, pieces.message()).await? {
            draft.write(&piece.blob)?;
            digests.add(&piece.blob);
        }
        let bytes = digests.bytes;
        let sha256 = digests.finish().ok_or_else(|| self.failed("the snapshot ended early: its checksum is wrong"))?;
        draft.finish()?;
        Ok(EtcdSnapshot { bytes, revision: status.header.map_or(0, |header| header.revision), sha256 })
    }

    /// Names of the members that do not vote yet; one that has never started has no name, and its id stands for it.
    ///
    /// # Errors
    /// The call fails, for example because there is no quorum.
    pub async fn learners(&mut self) -> Result<Vec<String>, NodeError> {
        self.ready().await?;
        let call = PathAndQuery::from_static("/etcdserverpb.Cluster/MemberList");
        let codec = ProstCodec::<MemberListRequest, MemberListResponse>::default();
        let request = Request::new(MemberListRequest { linearizable: true });
        let answer = within(&self.address, self.client.unary(request, call, codec)).await?.into_inner();
        let learners = answer.members.into_iter().filter(|member| member.is_learner);
        Ok(learners
            .map(|member| if member.name.is_empty() { format!("{:x}", member.id) } else { member.name })
            .collect())
    }

    async fn status(&mut self) -> Result<StatusResponse, NodeError> {
        self.ready().await?;
        let call = PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");
        let codec = ProstCodec::<Empty, StatusResponse>::default();
        Ok(within(&self.address, self.client.unary(Request::new(Empty {}), call, codec)).await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), NodeError> {
        let ready = self.client.ready().await;
        ready.map_err(|error| self.failed(in_full(&error)))
    }

    fn enough_space(&self, folder: &Path, data: u64) -> Result<(), NodeError> {
        let system = nix::sys::statvfs::statvfs(folder)
            .map_err(|errno| NodeError::io("ask for the free space of", folder)(errno.into()))?;
        let free = system.blocks_available().saturating_mul(system.fragment_size());
        if free >= data.saturating_add(SPARE) {
            return Ok(());
        }
        let mib = |bytes: u64| bytes / (1024 * 1024);
        let (needs, has) = (mib(data.saturating_add(SPARE)), mib(free));
        Err(self.failed(format!("a snapshot needs {needs} MiB free below {}, there are {has} MiB", folder.display())))
    }

    fn failed(&self, problem: impl Into<String>) -> NodeError {
        NodeError::Etcd { address: self.address.clone(), problem: problem.into() }
    }
}

async fn within<T>(address: &str, answer: impl Future<Output = Result<T, Status>>) -> Result<T, NodeError> {
    let failed = |problem: String| NodeError::Etcd { address: address.to_owned(), problem };
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(|status| failed(format!("{} ({:?})", status.message(), status.code()))),
        Err(_) => Err(failed(format!("no answer within {} s", ANSWER.as_secs()))),
    }
}

/// Two checksums: that of the whole file, and that of the data, which etcd sends behind the data.
struct Digests {
    file: Context,
    data: Context,
    /// The last bytes, which may be etcd's checksum.
    tail: Vec<u8>,
    bytes: u64,
}

impl Digests {
    fn new() -> Self {
        Self { file: Context::new(&SHA256), data: Context::new(&SHA256), tail: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, piece: &[u8]) {
        self.file.update(piece);
        self.bytes += piece.len() as u64;
        self.tail.extend_from_slice(piece);
        let data = self.tail.len().saturating_sub(SHA256_OUTPUT_LEN);
        let data: Vec<u8> = self.tail.drain(..data).collect();
        self.data.update(&data);
    }

    /// The checksum of the file in hex; `None` when it does not end with that of its data.
    fn finish(self) -> Option<String> {
        let whole = self.data.finish().as_ref() == self.tail.as_slice();
        whole.then(|| hex(self.file.finish().as_ref()))
    }
}

fn client_config(layout: &Layout) -> Result<ClientConfig, NodeError> {
    let unusable = |file: &str| {
        let path = layout.path(FOLDER).join(file);
        move |error: String| NodeError::Credential { path: path.display().to_string(), problem: error }
    };
    let read = |file: &str| {
        let path = layout.path(FOLDER).join(file);
        std::fs::read(&path).map(zeroize::Zeroizing::new).map_err(NodeError::io("read", &path))
    };
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(&read("ca.crt")?) {
        let ca = ca.map_err(|error| unusable("ca.crt")(error.to_string()))?;
        roots.add(ca).map_err(|error| unusable("ca.crt")(error.to_string()))?;
    }
    let (certificate, key) = ("healthcheck-client.crt", "healthcheck-client.key");
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|error| unusable(certificate)(error.to_string()))?;
    let key_der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key)(error.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(certificate)(error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key_der)
        .map_err(|error| unusable(certificate)(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;
    use prost::Message as _;
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::super::fixture::{ALGORITHM, Fixture, YEAR, authority};
    use super::*;
    use crate::pki::{CertificateAuthority, PrivateKey, ServerNames};

    /// A member with a PKI that is valid now, and what it sends as a snapshot.
    async fn member(fixture: &Fixture, pieces: Vec<Vec<u8>>) -> String {
        let ca = authority("etcd-ca", Timestamp::now());
        fixture.write(&format!("{FOLDER}/ca.crt"), &ca.certificate().to_pem(), 0o644);
        let key = PrivateKey::generate(ALGORITHM).unwrap();
        let client = ca.issue_client("health", &[], key.spki_der(), YEAR, Timestamp::now()).unwrap();
        fixture.write(&format!("{FOLDER}/healthcheck-client.crt"), &client.to_pem(), 0o644);
        fixture.write(&format!("{FOLDER}/healthcheck-client.key"), &key.to_pem(), 0o600);
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&ca)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(serve(stream, pieces.clone()));
                }
            }
        });
        address
    }

    fn server_config(ca: &CertificateAuthority) -> ServerConfig {
        let key = PrivateKey::generate(ALGORITHM).unwrap();
        let names = ServerNames { dns: vec!["localhost".into()], ips: vec!["127.0.0.1".parse().unwrap()] };
        let server = ca.issue_server("cp-1", &names, key.spki_der(), YEAR, Timestamp::now()).unwrap();
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca.certificate().der().to_vec())).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.unwrap())
            .with_single_cert(
                vec![CertificateDer::from(server.der().to_vec())],
                PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    async fn serve(stream: tokio_rustls::server::TlsStream<TcpStream>, pieces: Vec<Vec<u8>>) {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().scheme_str(), Some("https"));
            let messages = match request.uri().path() {
                "/etcdserverpb.Maintenance/Status" => {
                    let header = Some(ResponseHeader { revision: 42 });
                    vec![StatusResponse { header, db_size: 4096 }.encode_to_vec()]
                }
                "/etcdserverpb.Cluster/MemberList" => {
                    let member = |id, name: &str, is_learner| Member { id, name: name.into(), is_learner };
                    let members = vec![member(1, "cp-1", false), member(2, "cp-2", true), member(0xab, "", true)];
                    vec![MemberListResponse { members }.encode_to_vec()]
                }
                "/etcdserverpb.Maintenance/Snapshot" => {
                    pieces.iter().map(|blob| SnapshotResponse { blob: blob.clone() }.encode_to_vec()).collect()
                }
                other => panic!("{other} was asked"),
            };
            let head = hyper::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            for message in messages {
                // A gRPC frame: not compressed, four bytes of length.
                let mut frame = vec![0];
                frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
                frame.extend(message);
                body.send_data(frame.into(), false).unwrap();
            }
            body.send_trailers([("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect()).unwrap();
        }
    }

    fn sha256(bytes: &[u8]) -> Vec<u8> {
        aws_lc_rs::digest::digest(&SHA256, bytes).as_ref().to_vec()
    }

    #[tokio::test]
    async fn a_snapshot_is_saved_whole_and_for_root_alone() {
        let fixture = Fixture::new();
        let (one, two) = (vec![1; 1000], vec![2; 24]);
        let data = [one.clone(), two.clone()].concat();
        let address = member(&fixture, vec![one, two, sha256(&data)]).await;
        let path = fixture.layout.etcd_snapshot("ca-2");
        let mut etcd = Etcd::connect(&fixture.layout, &address).await.unwrap();
        let saved = etcd.save(&path).await.unwrap();
        let file = fs::read(&path).unwrap();
        assert_eq!(file, [data.clone(), sha256(&data)].concat());
        assert_eq!(saved, EtcdSnapshot { bytes: 1056, revision: 42, sha256: hex(&sha256(&file)) });
        assert_eq!(fixture.mode("/var/lib/certctl/snapshots/ca-2.db"), 0o600);
    }

    #[tokio::test]
    async fn members_that_do_not_vote_are_named() {
        let fixture = Fixture::new();
        let address = member(&fixture, Vec::new()).await;
        let mut etcd = Etcd::connect(&fixture.layout, &address).await.unwrap();
        assert_eq!(etcd.learners().await.unwrap(), ["cp-2", "ab"]);
    }

    #[tokio::test]
    async fn a_snapshot_that_ends_early_leaves_the_old_file_and_nothing_else() {
        let fixture = Fixture::new();
        let address = member(&fixture, vec![vec![1; 1000], vec![2; 24]]).await;
        let old = "/var/lib/certctl/snapshots/ca-2.db";
        fixture.write(old, "old", 0o600);
        let mut etcd = Etcd::connect(&fixture.layout, &address).await.unwrap();
        let error = etcd.save(&fixture.layout.path(old)).await.unwrap_err();
        assert!(error.to_string().contains("ended early"), "{error}");
        assert_eq!(fixture.read(old), "old");
        let beside = fs::read_dir(fixture.layout.path(old).parent().unwrap()).unwrap();
        assert_eq!(beside.count(), 1);
    }

    #[tokio::test]
    async fn a_member_of_another_ca_is_told_nothing() {
        let fixture = Fixture::new();
        let address = member(&fixture, Vec::new()).await;
        let other = authority("etcd-ca", Timestamp::now());
        fixture.write(&format!("{FOLDER}/ca.crt"), &other.certificate().to_pem(), 0o644);
        let error = Etcd::connect(&fixture.layout, &address).await.err().unwrap();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
