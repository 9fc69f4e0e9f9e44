//! What the pages are told: everything once, and then each change, as server-sent events (HTML
//! Living Standard, "Server-sent events").
//!
//! A follower is a place in the sequence of changes. The latest are kept, within a bound, so that
//! one that is behind, or comes back, goes on from its place; one that missed more gets everything
//! anew. So a slow follower holds no more than what it is being sent.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    rc::Rc,
    task::Waker,
};

use hyper::body::Bytes;

use super::model::{Model, Time, Told};
use crate::limits;

/// The model, and what is told of it. Clones are the same one.
#[derive(Clone)]
pub(super) struct Feed(Rc<RefCell<State>>);

struct State {
    model: Model,
    /// Tells the places of this process from those of an earlier one.
    epoch: String,
    /// The token of requests for jobs, if there are any.
    control: Option<String>,
    /// The number of the last change.
    last: u64,
    /// The latest changes, without a gap.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// Everything as of the last change, once somebody has asked, as JSON.
    everything: Option<Shared>,
    /// The same as an event, with the token.
    event: Option<Shared>,
    followers: usize,
    /// The number of the last follower.
    last_follower: u64,
    /// Those of followers that wait for a change, by their numbers.
    wakers: BTreeMap<u64, Waker>,
}

/// What serves all who ask for the same.
struct Shared {
    bytes: Bytes,
    made_at: Time,
}

/// Somebody who is told of each change.
pub(super) struct Follower {
    feed: Feed,
    /// Tells it from other followers.
    number: u64,
    /// The number of the last change that it knows; none before it has everything.
    place: Option<u64>,
}

impl Feed {
    /// Nothing is known yet. `epoch` is unique; with `control`, its token, jobs can be requested.
    pub fn new(epoch: String, control: Option<String>) -> Self {
        Self(Rc::new(RefCell::new(State {
            model: Model::default(),
            epoch,
            control,
            last: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            everything: None,
            event: None,
            followers: 0,
            last_follower: 0,
            wakers: BTreeMap::new(),
        })))
    }

    /// Reads the model.
    pub fn read<R>(&self, read: impl FnOnce(&Model) -> R) -> R {
        read(&self.0.borrow().model)
    }

    /// Changes the model. Nobody is told before [`tell`](Self::tell).
    pub fn change<R>(&self, change: impl FnOnce(&mut Model) -> R) -> R {
        change(&mut self.0.borrow_mut().model)
    }

    /// Tells all followers what has changed since the last time.
    pub fn tell(&self, now: Time) {
        let mut state = self.0.borrow_mut();
        if !state.model.has_changes() {
            return;
        }
        state.last += 1;
        state.everything = None;
        state.event = None;
        match state.model.take_changes(now) {
            Told::Everything => {
                state.kept.clear();
                state.kept_bytes = 0;
            }
            Told::Changes(json) => {
                let event = state.event("change", &json);
                state.kept_bytes += event.len();
                state.kept.push_back(event);
            }
        }
        while state.kept_bytes > limits::DASHBOARD_KEPT_CHANGES
            && let Some(oldest) = state.kept.pop_front()
        {
            state.kept_bytes -= oldest.len();
        }
        for waker in std::mem::take(&mut state.wakers).into_values() {
            waker.wake();
        }
    }

    /// Everything, as JSON. The token is not in it.
    pub fn everything(&self, now: Time) -> Bytes {
        let mut state = self.0.borrow_mut();
        if let Some(bytes) = Shared::fresh(state.everything.as_ref(), now) {
            return bytes;
        }
        let bytes = Bytes::from(state.model.snapshot(now, None));
        state.everything = Some(Shared {
            bytes: bytes.clone(),
            made_at: now,
        });
        bytes
    }

    /// A follower that begins after the change that `last_id` names, the `id` of the last event that
    /// it got in an earlier connection. `None` when there are too many.
    pub fn follow(&self, last_id: Option<&str>) -> Option<Follower> {
        let mut state = self.0.borrow_mut();
        if state.followers >= limits::MAX_HTTP_FOLLOWERS {
            return None;
        }
        state.followers += 1;
        state.last_follower += 1;
        let place = last_id.and_then(|id| state.place(id));
        Some(Follower {
            feed: self.clone(),
            number: state.last_follower,
            place,
        })
    }

    /// Whether this is the token of requests for jobs; `None` where there are none.
    pub fn is_token(&self, given: &[u8]) -> Option<bool> {
        let state = self.0.borrow();
        let token = state.control.as_ref()?.as_bytes();
        // All bytes are compared, so that the time tells nothing.
        let differences = token.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
        Some(token.len() == given.len() && differences == 0)
    }
}

impl State {
    /// An event of the stream. JSON has no line breaks.
    fn event(&self, name: &str, json: &str) -> Bytes {
        let mut text = String::with_capacity(json.len() + 80);
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "event: {name}\nid: {}-{}\ndata: {json}\n\n",
            self.epoch, self.last
        );
        text.into()
    }

    /// The place that an id of [`event`](Self::event) names, unless it is of another process.
    fn place(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.rsplit_once('-')?;
        let number = number.parse().ok().filter(|number| *number <= self.last);
        number.filter(|_| epoch == self.epoch)
    }

    /// The change with this number, if it is kept.
    fn kept(&self, number: u64) -> Option<&Bytes> {
        let behind = usize::try_from(self.last.checked_sub(number)?).ok()?;
        let index = self.kept.len().checked_sub(behind + 1)?;
        self.kept.get(index)
    }
}

impl Shared {
    /// What is there, if its time is still true.
    fn fresh(shared: Option<&Self>, now: Time) -> Option<Bytes> {
        let is_fresh = |shared: &&Self| {
            u128::from(now.abs_diff(shared.made_at)) < limits::DASHBOARD_FRESH.as_millis()
        };
        shared.filter(is_fresh).map(|shared| shared.bytes.clone())
    }
}

impl Follower {
    /// What comes next; `None` when there is nothing, and then `waker` is woken when there is.
    pub fn next(&mut self, now: Time, waker: &Waker) -> Option<Bytes> {
        let mut state = self.feed.0.borrow_mut();
        if self.place == Some(state.last) {
            state.wakers.insert(self.number, waker.clone());
            return None;
        }
        let next = self.place.map(|place| place + 1);
        if let Some(number) = next
            && let Some(event) = state.kept(number)
        {
            self.place = next;
            return Some(event.clone());
        }
        self.place = Some(state.last);
        if let Some(event) = Shared::fresh(state.event.as_ref(), now) {
            return Some(event);
        }
        let json = state.model.snapshot(now, state.control.as_deref());
        let event = state.event("all", &json);
        state.event = Some(Shared {
            bytes: event.clone(),
            made_at: now,
        });
        Some(event)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.feed.0.borrow_mut();
        state.followers -= 1;
        // It keeps a whole connection, and a fleet may be quiet for long.
        state.wakers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn feed() -> Feed {
        let feed = Feed::new("e".to_owned(), None);
        feed.change(|model| {
            model.connected(1);
            model.nodes_listed(&[("rpi4", false)]);
        });
        feed.tell(1);
        feed
    }

    /// Changes something and tells it.
    fn change(feed: &Feed, time: Time) {
        feed.change(|model| model.node_connection(time, "rpi4", time.is_multiple_of(2)));
        feed.tell(time);
    }

    /// Name and id of the next event.
    fn next(follower: &mut Follower) -> Option<String> {
        let event = follower.next(1, Waker::noop())?;
        let text = String::from_utf8(event.to_vec()).unwrap();
        assert!(
            text.ends_with("\n\n") && text.lines().count() == 4,
            "{text}"
        );
        let lines: Vec<&str> = text.lines().take(2).collect();
        Some(lines.join(" "))
    }

    fn told(name: &str, number: u64) -> String {
        format!("event: {name} id: e-{number}")
    }

    #[test]
    fn a_follower_gets_everything_and_then_each_change() {
        let feed = feed();
        let mut follower = feed.follow(None).unwrap();
        assert_eq!(next(&mut follower), Some(told("all", 1)));
        assert_eq!(next(&mut follower), None);
        change(&feed, 2);
        change(&feed, 3);
        feed.tell(4);
        assert_eq!(next(&mut follower), Some(told("change", 2)));
        assert_eq!(next(&mut follower), Some(told("change", 3)));
        assert_eq!(next(&mut follower), None);
        let mut back = feed.follow(Some("e-2")).unwrap();
        assert_eq!(next(&mut back), Some(told("change", 3)));
        for id in ["e-4", "f-2", "e", "-", "e-x"] {
            let mut stranger = feed.follow(Some(id)).unwrap();
            assert_eq!(next(&mut stranger), Some(told("all", 3)), "{id}");
        }
    }

    #[test]
    fn who_is_too_far_behind_gets_everything_anew() {
        let feed = feed();
        let mut follower = feed.follow(None).unwrap();
        next(&mut follower);
        let mut time = 2;
        while feed.0.borrow().kept_bytes < limits::DASHBOARD_KEPT_CHANGES - 1000 {
            change(&feed, time);
            time += 1;
        }
        let before = feed.0.borrow().kept.len();
        for _ in 0..100 {
            change(&feed, time);
            time += 1;
        }
        let state = feed.0.borrow();
        assert!(state.kept.len() < before + 100);
        assert!(state.kept_bytes <= limits::DASHBOARD_KEPT_CHANGES);
        let last = state.last;
        drop(state);
        assert_eq!(next(&mut follower), Some(told("all", last)));
        assert_eq!(next(&mut follower), None);
    }

    #[test]
    fn followers_are_counted() {
        let feed = feed();
        let followers: Vec<Follower> = (0..limits::MAX_HTTP_FOLLOWERS)
            .map(|_| feed.follow(None).unwrap())
            .collect();
        assert!(feed.follow(None).is_none());
        drop(followers);
        assert!(feed.follow(None).is_some());
    }

    #[test]
    fn nothing_is_left_of_followers_that_are_gone() {
        let feed = feed();
        let mut stays = feed.follow(None).unwrap();
        let mut goes = feed.follow(None).unwrap();
        for follower in [&mut stays, &mut goes] {
            next(follower);
            assert_eq!(next(follower), None);
        }
        assert_eq!(feed.0.borrow().wakers.len(), 2);
        drop(goes);
        let left: Vec<u64> = feed.0.borrow().wakers.keys().copied().collect();
        assert_eq!(left, [stays.number]);
        drop(stays);
        assert!(feed.0.borrow().wakers.is_empty());
    }

    #[test]
    fn one_copy_serves_all_who_ask_until_something_changes() {
        let feed = feed();
        let ask = |now| {
            let event = feed.follow(None).unwrap().next(now, Waker::noop()).unwrap();
            [feed.everything(now), event]
        };
        let places = |answers: &[Bytes; 2]| answers.each_ref().map(|bytes| bytes.as_ptr());
        let first = ask(1000);
        assert_eq!(places(&ask(1999)), places(&first));
        let later = ask(2000);
        for (first, later) in first.iter().zip(&later) {
            let [first, later] = [first, later].map(|it| str::from_utf8(it).unwrap());
            assert_eq!(first.replace("\"now\":1000,", "\"now\":2000,"), later);
        }
        change(&feed, 2002);
        for answer in ask(2002) {
            let text = str::from_utf8(&answer).unwrap();
            assert!(text.contains("\"seen\":2002"), "{text}");
        }
    }

    #[test]
    fn a_token_is_compared_whole() {
        let feed = Feed::new(String::new(), Some("token".to_owned()));
        for (given, is_right) in [
            ("token", true),
            ("toke", false),
            ("tokens", false),
            ("", false),
        ] {
            assert_eq!(feed.is_token(given.as_bytes()), Some(is_right), "{given}");
        }
        assert_eq!(Feed::new(String::new(), None).is_token(b"token"), None);
    }
}
