//! A played API server for tests: a closure answers every request, no socket, no cluster.

use futures::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::client::Cluster;

/// A request as a test sees it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// `null` without a body.
    pub(crate) body: Value,
}

/// What the played API server says.
pub(crate) enum Answer {
    /// An object.
    Object(Value),
    /// A failure, as a `Status` object.
    Failure(u16, &'static str),
    /// A watch: these events, then silence.
    Watch(Vec<Value>),
    /// Nothing, ever.
    Silence,
}

type Answered = Result<Response<UnsyncBoxBody<Bytes, std::io::Error>>, std::io::Error>;

/// A connection to the played API server.
pub(crate) fn cluster(play: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Cluster {
    let play = std::sync::Arc::new(play);
    let service = service_fn(move |request: Request<Body>| {
        let play = std::sync::Arc::clone(&play);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            answered(play(&Call { method: parts.method.to_string(), path: parts.uri.to_string(), body })).await
        }
    });
    Cluster::played(kube::Client::new(service, "default"))
}

async fn answered(answer: Answer) -> Answered {
    let text = |value: &Value| Bytes::from(format!("{value}\n"));
    let whole = |code: u16, value: Value| {
        let body = Full::new(text(&value)).map_err(|never| match never {}).boxed_unsync();
        Response::builder().status(code).body(body).map_err(std::io::Error::other)
    };
    match answer {
        Answer::Object(value) => whole(200, value),
        Answer::Failure(code, message) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": message, "message": message,
            });
            whole(code, status)
        }
        Answer::Watch(events) => {
            let frames: Vec<_> = events.iter().map(|event| Ok(Frame::data(text(event)))).collect();
            let body = StreamBody::new(stream::iter(frames).chain(stream::pending())).boxed_unsync();
            Ok(Response::new(body))
        }
        Answer::Silence => std::future::pending().await,
    }
}
