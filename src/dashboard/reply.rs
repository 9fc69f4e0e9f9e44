//! Answers to requests: their bodies and the fields that all of them have.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{
    Response, StatusCode,
    body::{Body, Bytes, Frame, SizeHint},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;

use super::{feed::Follower, io::Busy};
use crate::{
    core::Instant,
    limits,
    reactor::{Sleeper, clock},
};

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// What a browser may do with whatever it gets: run and show only what comes from here, as files, and
/// talk to nobody else; and be no part of another page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// The fields that every answer has, besides those that say what it is.
const FIELDS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    // A reverse proxy (nginx) that would gather events passes them on at once.
    ("x-accel-buffering", "no"),
];

/// The body of an answer.
pub(super) struct Reply {
    content: Content,
    /// The request is being answered as long as this is there.
    busy: Option<Busy>,
}

enum Content {
    Whole(Bytes),
    Events(Box<Events>),
}

/// The stream of events.
struct Events {
    follower: Follower,
    /// Of an event that is being sent.
    rest: Bytes,
    /// When the page has to hear from us again.
    beat_at: Instant,
    sleeper: Option<Sleeper>,
}

/// An answer with a sentence instead of what was asked for, for people or as JSON.
#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

pub(super) type Answer = Response<Reply>;

/// An answer that is complete.
pub(super) fn whole(
    status: StatusCode,
    kind: &'static str,
    cache: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    answer(status, kind, cache, Content::Whole(body.into()))
}

/// A sentence, which no cache keeps.
pub(super) fn text(status: StatusCode, sentence: &str) -> Answer {
    whole(status, TEXT, "no-store", format!("{sentence}\n"))
}

/// JSON, which no cache keeps.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    // Plain structures with text keys, which always can be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    whole(status, JSON, "no-store", text)
}

/// Why a request was not carried out, as JSON.
pub(super) fn problem(status: StatusCode, error: &str) -> Answer {
    json(status, &Problem { error })
}

/// The stream of events; its head alone without a follower.
pub(super) fn events(follower: Option<Follower>) -> Answer {
    let content = match follower {
        Some(follower) => Content::Events(Box::new(Events {
            follower,
            rest: Bytes::new(),
            beat_at: clock::monotonic() + limits::DASHBOARD_BEAT,
            sleeper: None,
        })),
        None => Content::Whole(Bytes::new()),
    };
    answer(StatusCode::OK, EVENTS, "no-store", content)
}

fn answer(status: StatusCode, kind: &'static str, cache: &'static str, content: Content) -> Answer {
    let mut answer = Response::new(Reply {
        content,
        busy: None,
    });
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    for (name, value) in FIELDS {
        fields.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    answer
}

impl Reply {
    /// Says that a request is being answered until this body was handed over.
    pub fn keep(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl Events {
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        if self.rest.is_empty() {
            match self.gather(context) {
                Some(event) => self.rest = event,
                None => return Poll::Pending,
            }
        }
        Poll::Ready(piece(&mut self.rest))
    }

    /// What comes next, a sign of life included.
    fn gather(&mut self, context: &mut Context<'_>) -> Option<Bytes> {
        let now = clock::now();
        let millis = now.realtime_us / 1000;
        if let Some(event) = self.follower.next(millis, context.waker()) {
            self.beat_at = now.monotonic + limits::DASHBOARD_BEAT;
            return Some(event);
        }
        if self.beat_at <= now.monotonic {
            self.beat_at = now.monotonic + limits::DASHBOARD_BEAT;
            return Some(format!("event: beat\ndata: {{\"now\":{millis}}}\n\n").into());
        }
        // Without a descriptor for times there would be no server.
        self.sleeper = Sleeper::new(self.beat_at, context.waker().clone()).ok();
        None
    }
}

/// Takes the next piece.
fn piece(rest: &mut Bytes) -> Bytes {
    rest.split_to(rest.len().min(limits::HTTP_PIECE))
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.content {
            Content::Whole(rest) if rest.is_empty() => return Poll::Ready(None),
            Content::Whole(rest) => piece(rest),
            Content::Events(events) => match events.next(context) {
                Poll::Ready(piece) => piece,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(rest) if rest.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(rest) => SizeHint::with_exact(rest.len() as u64),
            Content::Events(_) => SizeHint::default(),
        }
    }
}
