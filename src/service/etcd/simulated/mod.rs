//! Connections into a simulated cluster: what etcd-client sends comes out as plain data, and the answers go back
//! in etcd's own encoding. So all of this folder runs in the simulation as it is shipped, from the contender's
//! decisions down to the bytes.

// Compared with a real etcd.
mod conformance;
// etcd's protocol.
mod messages;
// From its messages to plain data and back.
mod translate;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request as HttpRequest, Response as HttpResponse};
use http_body::{Body as _, Frame};
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service};

use crate::simulation::kernel::{Exchange, Stream};
use crate::simulation::protocol::{Refusal, Reply, Request};
use etcd_client::Channel;

/// A connection to the member behind this address, or none if it refuses; nothing without a simulation.
pub async fn connect(address: &str) -> Option<Option<Channel>> {
    crate::simulation::kernel::now()?;
    let number = address.strip_prefix("member")?.strip_suffix(":2379")?;
    let member = number.parse().ok()?;
    Some(match Exchange::send(member, Request::Connect).await {
        Reply::Answered(..) => {
            let connection = BoxCloneSyncService::new(Connection { member });
            Some(Channel::Custom(connection))
        }
        _ => None,
    })
}

#[derive(Clone)]
struct Connection {
    member: usize,
}

type Serving = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, BoxError>> + Send + 'static>>;

impl Service<HttpRequest<Body>> for Connection {
    type Response = HttpResponse<Body>;
    type Error = BoxError;
    type Future = Serving;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Serving {
        Box::pin(serve(self.member, request))
    }
}

async fn serve(member: usize, request: HttpRequest<Body>) -> Result<HttpResponse<Body>, BoxError> {
    let (head, body) = request.into_parts();
    let mut messages = Messages::new(body);
    match head.uri.path() {
        "/etcdserverpb.Lease/LeaseKeepAlive" => {
            let mut stream = KeepAlives {
                member,
                messages,
                exchange: None,
            };
            let first = std::future::poll_fn(|context| stream.poll_reply(context)).await;
            match first.transpose()? {
                Some(Ok(first)) => Ok(respond(Body::new(Primed::new(first, stream)))),
                Some(Err(refusal)) => Ok(refuse(refusal)),
                None => Err("the stream ended before it began".into()),
            }
        }
        "/etcdserverpb.Watch/Watch" => {
            let mut stream = Watches {
                stream: Stream::open(member),
                member,
                messages,
                watches: 0,
            };
            let first = std::future::poll_fn(|context| stream.poll_notice(context)).await?;
            Ok(respond(Body::new(Primed::new(first, stream))))
        }
        path => {
            let message = std::future::poll_fn(|context| messages.poll_next(context)).await;
            let request = translate::request(path, &message.expect("one message"))?;
            match framed(Exchange::send(member, request).await)? {
                Ok(answer) => Ok(respond(Body::new(Once(Some(answer), false)))),
                Err(refusal) => Ok(refuse(refusal)),
            }
        }
    }
}

fn framed(reply: Reply) -> Result<Result<Bytes, Refusal>, BoxError> {
    match reply {
        Reply::Answered(header, answer) => Ok(Ok(translate::framed(header, answer).into())),
        Reply::Refused(refusal) => Ok(Err(refusal)),
        Reply::Broken => Err("the connection broke".into()),
    }
}

fn respond(body: Body) -> HttpResponse<Body> {
    let mut response = HttpResponse::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

fn refuse(refusal: Refusal) -> HttpResponse<Body> {
    let (code, text) = match refusal {
        Refusal::LeaseNotFound => ("5", "etcdserver: requested lease not found"),
        Refusal::LeaseExists => ("9", "etcdserver: lease already exists"),
        Refusal::NoLeader => ("14", "etcdserver: no leader"),
        Refusal::TimedOut => ("14", "etcdserver: request timed out"),
        Refusal::NotPrimary => ("2", "not a primary lessor"),
        Refusal::Compacted => (
            "11",
            "etcdserver: mvcc: required revision has been compacted",
        ),
        Refusal::FutureRevision => (
            "11",
            "etcdserver: mvcc: required revision is a future revision",
        ),
    };
    let mut response = respond(Body::empty());
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from_static(code));
    headers.insert("grpc-message", HeaderValue::from_static(text));
    response
}

/// The messages in a body.
struct Messages {
    body: Body,
    bytes: Bytes,
}

/// What stands before each message: whether it is compressed, and its length.
const HEAD: usize = 5;

impl Messages {
    const fn new(body: Body) -> Self {
        Self {
            body,
            bytes: Bytes::new(),
        }
    }

    /// The next message; none at the end.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(message) = self.take() {
                return Poll::Ready(Some(message));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.take_in(frame.into_data().unwrap_or_default()),
                _ => return Poll::Ready(None),
            }
        }
    }

    /// The first message, if all of it is there.
    fn take(&mut self) -> Option<Bytes> {
        let [_, length @ ..] = self.bytes.first_chunk::<HEAD>()?;
        let end = HEAD + u32::from_be_bytes(*length) as usize;
        // As a rule one frame is one message.
        let mut message = match self.bytes.len().checked_sub(end)? {
            0 => std::mem::take(&mut self.bytes),
            _ => self.bytes.split_to(end),
        };
        message.advance(HEAD);
        Some(message)
    }

    fn take_in(&mut self, data: Bytes) {
        self.bytes = match self.bytes.is_empty() {
            true => data,
            false => [&self.bytes[..], &data].concat().into(),
        };
    }
}

/// Source of the frames of a stream.
trait Frames {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>>;
}

/// Keepalives: strictly one after the other, as in etcd (api/v3rpc/lease.go).
struct KeepAlives {
    member: usize,
    messages: Messages,
    exchange: Option<Exchange>,
}

impl KeepAlives {
    fn poll_reply(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Result<Bytes, Refusal>, BoxError>>> {
        loop {
            if let Some(exchange) = &mut self.exchange {
                let reply = ready!(Pin::new(exchange).poll(context));
                self.exchange = None;
                return Poll::Ready(Some(framed(reply)));
            }
            let Some(message) = ready!(self.messages.poll_next(context)) else {
                return Poll::Ready(None);
            };
            let request = translate::request("/etcdserverpb.Lease/LeaseKeepAlive", &message);
            let request = request.expect("what etcd-client encoded");
            self.exchange = Some(Exchange::send(self.member, request));
        }
    }
}

impl Frames for KeepAlives {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        self.poll_reply(context).map(|reply| {
            reply.map(|reply| match reply {
                Ok(Ok(bytes)) => Ok(bytes),
                Ok(Err(refusal)) => Err(format!("{refusal:?}").into()),
                Err(error) => Err(error),
            })
        })
    }
}

/// A stream of watches.
struct Watches {
    stream: Stream,
    member: usize,
    messages: Messages,
    watches: i64,
}

impl Watches {
    fn poll_notice(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, BoxError>> {
        while let Poll::Ready(Some(message)) = self.messages.poll_next(context) {
            let watch = translate::watch(self.stream.number, self.watches, &message)?;
            if let Some(watch) = watch {
                self.watches += 1;
                // Answered by notices on the stream.
                drop(Exchange::send(self.member, Request::Watch(watch)));
            }
        }
        let notice = ready!(self.stream.poll_notice(context));
        Poll::Ready(match translate::framed_notice(notice) {
            Some(frame) => Ok(frame.into()),
            None => Err("the connection broke".into()),
        })
    }
}

impl Frames for Watches {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        self.poll_notice(context).map(Some)
    }
}

/// A stream of which the first frame was read to know that it began.
struct Primed<S> {
    first: Option<Bytes>,
    stream: S,
}

impl<S> Primed<S> {
    const fn new(first: Bytes, stream: S) -> Self {
        Self {
            first: Some(first),
            stream,
        }
    }
}

impl<S: Frames + Unpin> http_body::Body for Primed<S> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let data = ready!(self.stream.poll_data(context));
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }
}

/// One message, then the status that all went well.
struct Once(Option<Bytes>, bool);

impl http_body::Body for Once {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(message) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.1, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}
