//! What is answered to which request.

use std::{convert::Infallible, future::poll_fn, pin::Pin, rc::Rc};

use hyper::{
    Method, Request, StatusCode,
    body::{Body, Incoming},
    header::{ALLOW, ETAG, HeaderValue, IF_NONE_MATCH},
};
use log::info;
use serde::{Deserialize, Serialize};
use smol::{channel::Sender, future::or};

use super::{
    feed::Feed,
    guard::{self, Refusal},
    io::Activity,
    manager::{JobRequest, Refused},
    reply::{self, Answer},
};
use crate::{
    bus::{JobKind, names},
    limits,
    reactor::{clock, sleep},
    wire::listen::Origin,
};

/// A file of the page.
struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 4] = [
    Asset {
        path: "/",
        kind: "text/html; charset=utf-8",
        content: include_str!("page/index.html"),
    },
    Asset {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        content: include_str!("page/style.css"),
    },
    Asset {
        path: "/page.js",
        kind: "text/javascript; charset=utf-8",
        content: include_str!("page/page.js"),
    },
    Asset {
        path: "/icon.svg",
        kind: "image/svg+xml",
        content: include_str!("page/icon.svg"),
    },
];

/// What all connections use.
pub(super) struct Site {
    pub feed: Feed,
    /// Further names of this host.
    pub hosts: Vec<String>,
    pub jobs: Sender<JobRequest>,
}

/// A request for a job, as the page sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobOrder {
    node: String,
    unit: String,
    /// start, stop or restart.
    action: String,
}

/// A job that was accepted.
#[derive(Serialize)]
struct Accepted {
    job: u32,
}

#[derive(Serialize)]
struct Health<'a> {
    manager: bool,
    reason: Option<&'a str>,
}

/// Answers one request of `origin`.
pub(super) async fn answer(
    site: Rc<Site>,
    activity: Rc<Activity>,
    origin: Origin,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let busy = activity.begin();
    let mut answer = match route(&site, origin, request).await {
        Ok(answer) => answer,
        Err((StatusCode::METHOD_NOT_ALLOWED, methods)) => not_allowed(&methods),
        Err((status, reason)) => reply::text(status, &reason),
    };
    answer.body_mut().keep(busy);
    Ok(answer)
}

async fn route(site: &Site, origin: Origin, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let host = guard::host(&request, &site.hosts)?.to_owned();
    let path = request.uri().path();
    if path == "/api/jobs" {
        allow(&request, &[Method::POST])?;
        let ordered = match guard::control(&request, &host, &site.feed) {
            Ok(()) => order(site, origin, request.into_body()).await,
            Err(refusal) => Err(refusal),
        };
        return Ok(match ordered {
            Ok(job) => reply::json(StatusCode::OK, &Accepted { job }),
            Err((status, reason)) => reply::problem(status, &reason),
        });
    }
    if let Some(asset) = ASSETS.iter().find(|asset| asset.path == path) {
        allow(&request, &[Method::GET, Method::HEAD])?;
        return Ok(file(asset, &request));
    }
    if !["/api/state", "/api/events", "/healthz"].contains(&path) {
        return Err((StatusCode::NOT_FOUND, "There is nothing here.".to_owned()));
    }
    allow(&request, &[Method::GET, Method::HEAD])?;
    match path {
        "/api/events" => events(site, &request),
        "/healthz" => Ok(health(site)),
        _ => {
            let state = site.feed.everything(clock::now().realtime_us / 1000);
            Ok(reply::whole(StatusCode::OK, reply::JSON, "no-store", state))
        }
    }
}

/// Refuses what is not one of these methods; the refusal lists them.
fn allow(request: &Request<Incoming>, methods: &[Method]) -> Result<(), Refusal> {
    if methods.contains(request.method()) {
        return Ok(());
    }
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    Err((StatusCode::METHOD_NOT_ALLOWED, names.join(", ")))
}

/// That a method is none of these, which the field `Allow` names too.
fn not_allowed(methods: &str) -> Answer {
    let sentence = format!("This takes {methods}.");
    let mut answer = reply::text(StatusCode::METHOD_NOT_ALLOWED, &sentence);
    if let Ok(methods) = HeaderValue::from_str(methods) {
        answer.headers_mut().insert(ALLOW, methods);
    }
    answer
}

/// A file of the page; browsers ask whether it has changed.
fn file(asset: &Asset, request: &Request<Incoming>) -> Answer {
    let tag = format!("\"{:016x}\"", fnv(asset.content.as_bytes()));
    let known = request.headers().get(IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let (status, content) = if is_known {
        (StatusCode::NOT_MODIFIED, "")
    } else {
        (StatusCode::OK, asset.content)
    };
    let mut answer = reply::whole(status, asset.kind, "no-cache", content);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// A number that differs for different texts, of which nobody chooses any (FNV-1a).
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn events(site: &Site, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    if request.method() == Method::HEAD {
        return Ok(reply::events(None));
    }
    let last_id = request.headers().get("last-event-id");
    let last_id = last_id.and_then(|id| id.to_str().ok());
    match site.feed.follow(last_id) {
        Some(follower) => Ok(reply::events(Some(follower))),
        None => Err((
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{} pages are open already.", limits::MAX_HTTP_FOLLOWERS),
        )),
    }
}

fn health(site: &Site) -> Answer {
    site.feed.read(|model| {
        let manager = model.manager();
        let status = if manager.connected {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let health = Health {
            manager: manager.connected,
            reason: manager.reason.as_deref(),
        };
        reply::json(status, &health)
    })
}

/// Has the manager carry out what the body asks for; the number of the job.
async fn order(site: &Site, origin: Origin, body: Incoming) -> Result<u32, Refusal> {
    let body = read(body).await?;
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let JobOrder { node, unit, action } =
        serde_json::from_slice(&body).map_err(|error| bad(format!("The body: {error}.")))?;
    let kind = match action.as_str() {
        "start" => JobKind::Start,
        "stop" => JobKind::Stop,
        "restart" => JobKind::Restart,
        _ => return Err(bad("The action is start, stop or restart.".to_owned())),
    };
    if !names::is_unit_name(&unit) {
        return Err(bad("No unit can have this name.".to_owned()));
    }
    if !site.feed.read(|model| model.knows_node(&node)) {
        let reason = "The manager has no node of this name.".to_owned();
        return Err((StatusCode::NOT_FOUND, reason));
    }
    info!("Request to {kind} {unit} of node {node} from {origin}");
    let (answer, answered) = smol::channel::bounded(1);
    let request = JobRequest {
        kind,
        node,
        unit,
        answer,
    };
    let busy = (
        StatusCode::SERVICE_UNAVAILABLE,
        "Too many requests wait for the manager.".to_owned(),
    );
    site.jobs.try_send(request).map_err(|_| busy)?;
    let late = async {
        sleep(limits::CLIENT_CALL).await;
        Err(Refused::Late)
    };
    let answer = async { answered.recv().await.unwrap_or(Err(Refused::Late)) };
    or(answer, late).await.map_err(|refused| match refused {
        Refused::NoManager(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        Refused::ByManager(reason) => (StatusCode::CONFLICT, reason),
        Refused::Late => (
            StatusCode::GATEWAY_TIMEOUT,
            "The manager did not answer in time; what was asked for may happen or not.".to_owned(),
        ),
    })
}

/// The bytes of a body, which is short and comes soon.
async fn read(mut body: Incoming) -> Result<Vec<u8>, Refusal> {
    let too_long = || {
        let reason = format!("A body has at most {} bytes.", limits::HTTP_BODY_BYTES);
        Err((StatusCode::PAYLOAD_TOO_LARGE, reason))
    };
    let at_least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if at_least > limits::HTTP_BODY_BYTES {
        return too_long();
    }
    let gather = async {
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let cut = || (StatusCode::BAD_REQUEST, "The body is cut off.".to_owned());
            let frame = frame.map_err(|_| cut())?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if bytes.len() > limits::HTTP_BODY_BYTES {
                return too_long();
            }
        }
        Ok(bytes)
    };
    let late = async {
        sleep(limits::HTTP_REQUEST).await;
        let reason = "The body did not come in time.".to_owned();
        Err((StatusCode::REQUEST_TIMEOUT, reason))
    };
    or(gather, late).await
}
