//! `ListUnits`: asks every node that is online at once, and answers when the last one has.
//!
//! A node that fails does not spoil the answers of the others; `ListUnitsDetailed` names it.

use std::collections::BTreeMap;

use super::{
    State,
    event::{Action, Call},
    requests::{Purpose, cut, expect_signature, reply, reply_error, too_large},
};
use crate::{
    bus::{
        Body, CallError,
        marshal::{Endian, Malformed, Reader, Writer},
    },
    core::Now,
    limits,
};

/// One list that is being gathered.
#[derive(Debug)]
pub(super) struct Listing {
    call: Call,
    detailed: bool,
    /// Answers by index of the node, which is the order of the configuration.
    answers: BTreeMap<usize, Result<Body, CallError>>,
    waiting_for: usize,
    /// Bytes of the answers.
    bytes: usize,
}

/// All lists that are being gathered.
#[derive(Debug, Default)]
pub(super) struct Listings {
    lists: BTreeMap<u64, Listing>,
    next: u64,
    /// Bytes that the answers of all of them take, with [`PLACE`] for each.
    bytes: usize,
}

/// Bytes that an answer takes beside its own: many lists can wait for one node with an empty
/// answer of each of the others.
const PLACE: usize = size_of::<(usize, Result<Body, CallError>)>();

impl Listings {
    fn add(&mut self, listing: Listing) -> u64 {
        let id = self.next;
        self.next += 1;
        self.lists.insert(id, listing);
        id
    }

    fn take(&mut self, id: u64) -> Option<Listing> {
        let listing = self.lists.remove(&id)?;
        self.bytes -= listing.bytes + PLACE * listing.answers.len();
        Some(listing)
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.lists.clear();
        self.bytes = 0;
    }
}

impl State {
    pub(super) fn list_units(
        &mut self,
        now: Now,
        call: Call,
        detailed: bool,
        actions: &mut Vec<Action>,
    ) {
        let online: Vec<_> = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| Some((index, node.peer?)))
            .collect();
        let id = self.listings.add(Listing {
            call,
            detailed,
            answers: BTreeMap::new(),
            waiting_for: online.len(),
            bytes: 0,
        });
        for (node, peer) in online {
            let purpose = Purpose::List { listing: id, node };
            self.request(now, peer, ("ListUnits", Body::default()), purpose, actions);
        }
        self.finish_listing(id, actions);
    }

    /// One node has answered, or can not.
    pub(super) fn listed(
        &mut self,
        id: u64,
        node: usize,
        answer: Result<Body, CallError>,
        actions: &mut Vec<Action>,
    ) {
        let Some(listing) = self.listings.lists.get_mut(&id) else {
            return;
        };
        let mut answer = answer.and_then(|body| expect_signature("ListUnits", body));
        let bytes = match &mut answer {
            Ok(body) => body.bytes.len(),
            Err(error) => {
                cut(&mut error.message, limits::MAX_ERROR_TEXT);
                error.name.len() + error.message.len()
            }
        };
        listing.bytes += bytes;
        listing.waiting_for -= 1;
        listing.answers.insert(node, answer);
        let of_listing = listing.bytes;
        self.listings.bytes += bytes + PLACE;
        let refusal = if of_listing > limits::MAX_BUS_BODY {
            Some(too_large(of_listing))
        } else if self.listings.bytes > limits::MAX_GATHERED {
            Some(too_many_lists(self.listings.bytes))
        } else {
            None
        };
        if let Some(error) = refusal {
            if let Some(listing) = self.listings.take(id) {
                reply_error(listing.call, error, actions);
            }
            return;
        }
        self.finish_listing(id, actions);
    }

    fn finish_listing(&mut self, id: u64, actions: &mut Vec<Action>) {
        let listing = self.listings.lists.get(&id);
        if listing.is_some_and(|listing| listing.waiting_for == 0)
            && let Some(listing) = self.listings.take(id)
        {
            let body = self.compose(&listing);
            reply(listing.call, body, actions);
        }
    }

    /// `a(sssssssouso)`, each unit after the name of its node; with details also `a(sss)`.
    fn compose(&self, listing: &Listing) -> Body {
        let names = |index: usize| self.nodes[index].name.as_str();
        let mut failures = Vec::new();
        let room = listing.bytes + listing.bytes / 4;
        let mut writer = Writer::with_order(Endian::Little, room);
        writer.array(8, |units| {
            for (&index, answer) in &listing.answers {
                let appended = match answer {
                    Ok(body) => append_units(units, names(index), body).map_err(|malformed| {
                        CallError::new(crate::bus::error_name::FAILED, malformed.to_string())
                    }),
                    Err(error) => Err(error.clone()),
                };
                if let Err(error) = appended {
                    failures.push((names(index), error.name.to_string(), error.message));
                }
            }
        });
        if !listing.detailed {
            let bytes = writer.into_bytes();
            return Body {
                signature: "a(sssssssouso)".into(),
                endian: Endian::Little,
                bytes,
            };
        }
        crate::bus::body::Marshal::write(&failures, &mut writer);
        let bytes = writer.into_bytes();
        Body {
            signature: "a(sssssssouso)a(sss)".into(),
            endian: Endian::Little,
            bytes,
        }
    }
}

fn too_many_lists(bytes: usize) -> CallError {
    let most = limits::MAX_GATHERED;
    let text = format!("Lists of units that are being gathered hold {bytes} bytes, limit {most}");
    CallError::new(crate::bus::error_name::LIMITS_EXCEEDED, text)
}

/// Appends the units of one node, `a(ssssssouso)` as systemd lists them (`ListUnits` in
/// org.freedesktop.systemd1(5)). All fields of a unit are aligned to 4 bytes or less, and a
/// struct starts at a multiple of 8, so its bytes stay valid after any multiple of 4. The body of
/// an agent's message was checked when it came.
fn append_units(units: &mut Writer, node: &str, body: &Body) -> Result<(), Malformed> {
    if body.endian == Endian::Big {
        return append_units_of_other_order(units, node, body);
    }
    let mut elements = body.reader().array(8)?;
    while !elements.is_at_end() {
        elements.align(8)?;
        let start = elements.clone();
        (0..7).try_for_each(|_| elements.pass_text())?;
        elements.u32()?;
        (0..2).try_for_each(|_| elements.pass_text())?;
        units.align(8);
        units.str(node);
        units.raw(4, elements.since(&start));
    }
    Ok(())
}

fn append_units_of_other_order(
    units: &mut Writer,
    node: &str,
    body: &Body,
) -> Result<(), Malformed> {
    let mut elements: Reader<'_> = body.reader().array(8)?;
    while !elements.is_at_end() {
        elements.align(8)?;
        units.align(8);
        units.str(node);
        for _ in 0..6 {
            units.str(elements.str()?);
        }
        units.str(elements.path()?);
        units.u32(elements.u32()?);
        units.str(elements.str()?);
        units.str(elements.path()?);
    }
    Ok(())
}
