//! `ListUnits` and `ListUnitFiles`: ask every node that is online at once, and answer when the
//! last one has.
//!
//! A node that fails does not spoil the answers of the others; `ListUnitsDetailed` and
//! `ListUnitFilesDetailed` name it.

use std::collections::BTreeMap;

use super::{
    State,
    event::{Action, Call, Client},
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

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Loaded units.
    Units,
    /// Installed unit files.
    UnitFiles,
}

impl List {
    /// The method of an agent.
    const fn method(self) -> &'static str {
        match self {
            Self::Units => "ListUnits",
            Self::UnitFiles => "ListUnitFiles",
        }
    }

    /// The fields of a row of its answer (the methods of these names in
    /// org.freedesktop.systemd1(5)).
    const fn row(self) -> &'static str {
        match self {
            Self::Units => "ssssssouso",
            Self::UnitFiles => "ss",
        }
    }
}

/// One list that is being gathered.
#[derive(Debug)]
pub(super) struct Listing {
    list: List,
    call: Call,
    detailed: bool,
    /// Answers by index of the node.
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

    /// These callers have gone.
    pub(super) fn forget_calls(&mut self, is_gone: impl Fn(&Client) -> bool) {
        let lists = self.lists.iter();
        let gone: Vec<u64> = lists
            .filter(|(_, listing)| is_gone(&listing.call.client))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.take(id);
        }
    }
}

impl State {
    pub(super) fn list(
        &mut self,
        now: Now,
        call: Call,
        (list, detailed): (List, bool),
        actions: &mut Vec<Action>,
    ) {
        let online: Vec<_> = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| Some((index, node.peer?)))
            .collect();
        let id = self.listings.add(Listing {
            list,
            call,
            detailed,
            answers: BTreeMap::new(),
            waiting_for: online.len(),
            bytes: 0,
        });
        for (node, peer) in online {
            let purpose = Purpose::List { listing: id, node };
            let request = (list.method(), Body::default());
            self.request(now, peer, request, purpose, actions);
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
        let method = listing.list.method();
        let mut answer = answer.and_then(|body| expect_signature(method, body));
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

    /// Each row after the name of its node; with details also `a(sss)` of the failures.
    fn compose(&self, listing: &Listing) -> Body {
        let names = |index: usize| self.nodes[index].name.as_str();
        let mut failures = Vec::new();
        let room = listing.bytes + listing.bytes / 4;
        let mut writer = Writer::with_order(Endian::Little, room);
        let row = listing.list.row();
        writer.array(8, |rows| {
            for &index in &self.order {
                let Some(answer) = listing.answers.get(&index) else {
                    continue;
                };
                let appended = match answer {
                    Ok(body) => append_rows(rows, row, names(index), body).map_err(|malformed| {
                        CallError::new(crate::bus::error_name::FAILED, malformed.to_string())
                    }),
                    Err(error) => Err(error.clone()),
                };
                if let Err(error) = appended {
                    failures.push((names(index), error.name.to_string(), error.message));
                }
            }
        });
        let mut signature = format!("a(s{row})");
        if listing.detailed {
            signature.push_str("a(sss)");
            crate::bus::body::Marshal::write(&failures, &mut writer);
        }
        Body {
            signature: signature.into(),
            endian: Endian::Little,
            bytes: writer.into_bytes(),
        }
    }
}

fn too_many_lists(bytes: usize) -> CallError {
    let most = limits::MAX_GATHERED;
    let text =
        format!("Lists of all nodes that are being gathered hold {bytes} bytes, limit {most}");
    CallError::new(crate::bus::error_name::LIMITS_EXCEEDED, text)
}

/// Appends the rows of one node, whose fields `row` names. All of them are aligned to 4 bytes or
/// less, and a struct starts at a multiple of 8, so its bytes stay valid after any multiple of 4.
/// The body of an agent's message was checked when it came.
fn append_rows(rows: &mut Writer, row: &str, node: &str, body: &Body) -> Result<(), Malformed> {
    let mut elements = body.reader().array(8)?;
    while !elements.is_at_end() {
        elements.align(8)?;
        rows.align(8);
        rows.str(node);
        if body.endian == Endian::Little {
            let start = elements.clone();
            for field in row.bytes() {
                match field {
                    b'u' => elements.u32().map(drop)?,
                    _ => elements.pass_text()?,
                }
            }
            rows.raw(4, elements.since(&start));
        } else {
            append_row_of_other_order(rows, row, &mut elements)?;
        }
    }
    Ok(())
}

fn append_row_of_other_order(
    rows: &mut Writer,
    row: &str,
    elements: &mut Reader<'_>,
) -> Result<(), Malformed> {
    for field in row.bytes() {
        match field {
            b'u' => rows.u32(elements.u32()?),
            b'o' => rows.str(elements.path()?),
            _ => rows.str(elements.str()?),
        }
    }
    Ok(())
}
