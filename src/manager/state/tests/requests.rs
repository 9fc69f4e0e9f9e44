//! Calls to agents: each client's call gets exactly one answer, in time.

use super::*;
use crate::bus::{error_name, marshal, samples::list_of_units};

/// Units as systemd lists them.
fn units(names: &[&str]) -> Body {
    let units: Vec<_> = names
        .iter()
        .map(|name| (*name, "active", "running"))
        .collect();
    list_of_units(&units)
}

/// Names of node and unit of each element of the answer to `ListUnits`.
fn listed(body: &Body) -> Vec<(String, String)> {
    assert!(body.signature.starts_with("a(sssssssouso)"));
    marshal::validate(&body.signature, &body.bytes, body.endian).unwrap();
    let mut reader = body.reader();
    let mut elements = reader.array(8).unwrap();
    let mut listed = Vec::new();
    while !elements.is_at_end() {
        elements.align(8).unwrap();
        let mut element = elements.clone();
        listed.push((
            element.str().unwrap().to_owned(),
            element.str().unwrap().to_owned(),
        ));
        elements.skip(b"(sssssssouso)").unwrap();
    }
    listed
}

fn list(manager: &mut Manager, detailed: bool) -> Vec<Sent> {
    sent(&manager.call(Object::Manager, Method::ListUnits { detailed }))
}

fn pair(node: &str, unit: &str) -> (String, String) {
    (node.to_owned(), unit.to_owned())
}

#[test]
fn the_answer_of_the_agent_is_relayed_as_it_is() {
    let mut manager = Manager::with_nodes();
    let arguments = Body::of(&(vec!["a.service".to_owned()], false));
    let request = sent(&manager.relay("rpi4", "DisableUnitFiles", arguments))[0].clone();
    let answer = Body::of(&(vec![("unlink", "/etc/a", "")],));
    let actions = manager.answer(&request, answer.clone());
    assert_eq!(answer_of(&actions), &answer);
    assert!(manager.answer(&request, answer).is_empty());
}

#[test]
fn the_error_of_the_agent_is_relayed_as_it_is() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.relay("rpi4", "Reload", Body::default()))[0].clone();
    let error = CallError::from_reply("a.b.C".to_owned(), &Body::of(&("no",)));
    assert_eq!(
        refusal(&manager.refuse(&request, error)),
        Some(("a.b.C", "no"))
    );
}

#[test]
fn an_endless_error_text_is_cut() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.relay("rpi4", "Reload", Body::default()))[0].clone();
    let error = CallError::new(error_name::FAILED, "x".repeat(limits::MAX_MESSAGE));
    let actions = manager.refuse(&request, error);
    assert_eq!(refusal(&actions).unwrap().1.len(), limits::MAX_ERROR_TEXT);
}

#[test]
fn an_answer_of_another_type_is_an_error() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.relay("rpi4", "Reload", Body::default()))[0].clone();
    let actions = manager.answer(&request, Body::of(&(7_u32,)));
    assert_eq!(refusal(&actions).unwrap().0, error_name::FAILED);
}

#[test]
fn another_node_can_not_answer() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.relay("rpi4", "Reload", Body::default()))[0].clone();
    let forged = Sent {
        peer: LAPTOP,
        ..request.clone()
    };
    assert!(manager.answer(&forged, Body::default()).is_empty());
    assert_eq!(manager.answer(&request, Body::default()).len(), 1);
}

#[test]
fn a_request_without_an_answer_ends_at_its_deadline() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.relay("rpi4", "Reload", Body::default()))[0].clone();
    let alive = |manager: &mut Manager| {
        manager.message(RPI4, FromPeer::Heartbeat);
    };
    let before = limits::REQUEST.saturating_sub(Duration::from_micros(1));
    assert_eq!(refusal(&manager.wait_with(before, alive)), None);
    let actions = manager.wait_with(Duration::from_micros(1), alive);
    let text = "Node 'rpi4' did not answer Reload within 20 s";
    assert_eq!(refusal(&actions), Some((error_name::TIMEOUT, text)));
    assert!(logged(&actions).contains(&(Level::Warn, text)));
    assert!(manager.answer(&request, Body::default()).is_empty());
}

#[test]
fn requests_without_an_answer_do_not_fill_the_node_for_ever() {
    let mut manager = Manager::with_nodes();
    for _ in 0..limits::MAX_REQUESTS_PER_NODE {
        assert_eq!(
            sent(&manager.relay("rpi4", "Reload", Body::default())).len(),
            1
        );
    }
    let actions = manager.relay("rpi4", "Reload", Body::default());
    assert_eq!(refusal(&actions).unwrap().0, error_name::LIMITS_EXCEEDED);
    manager.wait_with(limits::REQUEST, |manager| {
        manager.message(RPI4, FromPeer::Heartbeat);
    });
    assert_eq!(
        sent(&manager.relay("rpi4", "Reload", Body::default())).len(),
        1
    );
}

#[test]
fn jobs_without_an_answer_do_not_fill_the_node_for_ever() {
    let mut manager = Manager::with_nodes();
    let first = sent(&manager.start("rpi4", "a.service"))[0].clone();
    let mut last = first.clone();
    for _ in 1..limits::MAX_REQUESTS_PER_NODE {
        last = sent(&manager.start("rpi4", "a.service"))[0].clone();
    }
    let actions = manager.start("rpi4", "a.service");
    assert_eq!(refusal(&actions).unwrap().0, error_name::LIMITS_EXCEEDED);
    manager.wait_with(limits::REQUEST, |manager| {
        manager.message(RPI4, FromPeer::Heartbeat);
    });
    assert_eq!(sent(&manager.start("rpi4", "a.service")).len(), 1);
    // The latest of the overdue are still cancelled when they are accepted after all.
    let cancels = |actions: &[Action]| sent(actions).iter().any(|sent| sent.is_call("JobCancel"));
    assert!(cancels(&manager.answer(&last, Body::default())));
    assert!(!cancels(&manager.answer(&first, Body::default())));
}

#[test]
fn the_loss_of_the_node_ends_its_requests_at_once() {
    let mut manager = Manager::with_nodes();
    manager.relay("rpi4", "Reload", Body::default());
    manager.relay("laptop", "Reload", Body::default());
    let actions = manager.lose(RPI4);
    let text = "Node 'rpi4' was lost before it answered";
    assert_eq!(refusal(&actions), Some((error_name::OFFLINE, text)));
    let answers = |action: &&Action| matches!(action, Action::ReplyError { .. });
    assert_eq!(actions.iter().filter(answers).count(), 1);
    assert_eq!(manager.state.deadlines.len(), 1);
}

#[test]
fn huge_arguments_are_refused() {
    let mut manager = Manager::with_nodes();
    let files = vec!["x".repeat(limits::MAX_REQUEST_BODY)];
    let actions = manager.relay("rpi4", "DisableUnitFiles", Body::of(&(files, false)));
    assert_eq!(refusal(&actions).unwrap().0, error_name::LIMITS_EXCEEDED);
    assert!(sent(&actions).is_empty());
}

#[test]
fn a_list_waits_for_every_node_and_keeps_the_order_of_the_configuration() {
    let mut manager = Manager::with_nodes();
    let requests = list(&mut manager, false);
    assert!(visible(manager.answer(&requests[1], units(&["b.service"]))).is_empty());
    let actions = manager.answer(&requests[0], units(&["a.service", "c.service"]));
    assert_eq!(
        listed(answer_of(&actions)),
        [
            pair("laptop", "a.service"),
            pair("laptop", "c.service"),
            pair("rpi4", "b.service")
        ]
    );
}

#[test]
fn without_nodes_the_list_is_empty() {
    let mut manager = Manager::empty();
    let actions = manager.call(Object::Manager, Method::ListUnits { detailed: false });
    assert!(listed(answer_of(&actions)).is_empty());
}

#[test]
fn a_node_that_fails_does_not_spoil_the_list() {
    let mut manager = Manager::with_nodes();
    let requests = list(&mut manager, true);
    manager.answer(&requests[0], units(&["a.service"]));
    let actions = manager.lose(RPI4);
    let body = answer_of(&actions);
    assert_eq!(body.signature, "a(sssssssouso)a(sss)");
    assert_eq!(listed(body), [pair("laptop", "a.service")]);
    let mut reader = body.reader();
    reader.skip(b"a(sssssssouso)").unwrap();
    let failures: Vec<(String, String, String)> =
        crate::bus::body::Unmarshal::read(&mut reader).unwrap();
    let text = "Node 'rpi4' was lost before it answered";
    let expected = ("rpi4".into(), error_name::OFFLINE.into(), text.into());
    assert_eq!(failures, [expected]);
}

#[test]
fn a_list_with_a_node_that_does_not_answer_ends_at_the_deadline() {
    let mut manager = Manager::with_nodes();
    let requests = list(&mut manager, false);
    manager.answer(&requests[0], units(&["a.service"]));
    let actions = manager.wait_with(limits::REQUEST, |manager| {
        manager.message(RPI4, FromPeer::Heartbeat);
        manager.message(LAPTOP, FromPeer::Heartbeat);
    });
    assert_eq!(listed(answer_of(&actions)), [pair("laptop", "a.service")]);
}

#[test]
fn units_of_a_node_with_the_other_byte_order_are_listed_too() {
    let mut manager = Manager::with_nodes();
    let requests = list(&mut manager, false);
    let mut writer = marshal::Writer::with_order(marshal::Endian::Big, 0);
    writer.array(8, |units| {
        units.align(8);
        for text in ["b.service", "", "", "", "", "", "/x"] {
            units.str(text);
        }
        units.u32(9);
        units.str("");
        units.str("/");
    });
    let body = Body {
        signature: "a(ssssssouso)".into(),
        endian: marshal::Endian::Big,
        bytes: writer.into_bytes(),
    };
    manager.answer(&requests[1], body);
    let actions = manager.answer(&requests[0], units(&[]));
    assert_eq!(listed(answer_of(&actions)), [pair("rpi4", "b.service")]);
}

#[test]
fn a_list_larger_than_a_bus_carries_is_refused() {
    let mut manager = Manager::with_nodes();
    let requests = list(&mut manager, false);
    let huge = units(&[&"x".repeat(limits::MAX_BUS_BODY)]);
    let actions = manager.answer(&requests[0], huge);
    assert_eq!(refusal(&actions).unwrap().0, error_name::LIMITS_EXCEEDED);
    assert!(visible(manager.answer(&requests[1], units(&[]))).is_empty());
}

#[test]
fn lists_in_the_making_hold_a_bounded_number_of_bytes() {
    let mut manager = Manager::with_nodes();
    let answer = units(&[&"x".repeat(limits::MAX_BUS_BODY / 2)]);
    let refused = (0..10).find(|_| {
        let requests = list(&mut manager, false);
        let actions = manager.answer(&requests[0], answer.clone());
        refusal(&actions).is_some()
    });
    assert_eq!(refused, Some(limits::MAX_GATHERED / answer.bytes.len()));
    manager.lose(RPI4);
    let requests = list(&mut manager, false);
    assert_eq!(refusal(&manager.answer(&requests[0], answer)), None);
}

#[test]
fn empty_answers_take_their_place_in_lists_in_the_making() {
    let mut manager = Manager::with_nodes();
    let lists: Vec<_> = (1..=3).map(|_| list(&mut manager, false)).collect();
    for requests in &lists {
        let before = manager.state.listings.bytes();
        manager.refuse(&requests[0], CallError::new("", ""));
        assert!(manager.state.listings.bytes() > before);
    }
    for requests in &lists {
        manager.answer(&requests[1], units(&[]));
    }
    assert_eq!(manager.state.listings.bytes(), 0);
}

#[test]
fn an_answer_larger_than_a_bus_carries_is_refused() {
    let mut manager = Manager::with_nodes();
    let request = sent(&manager.relay("rpi4", "ListUnits", Body::default()))[0].clone();
    let actions = manager.answer(&request, units(&[&"x".repeat(limits::MAX_BUS_BODY)]));
    assert_eq!(refusal(&actions).unwrap().0, error_name::LIMITS_EXCEEDED);
}

#[test]
fn the_loss_of_the_bus_forgets_who_waits_and_nothing_else() {
    let mut manager = Manager::with_nodes();
    let relay = sent(&manager.relay("rpi4", "Reload", Body::default()))[0].clone();
    let list = list(&mut manager, false);
    let id = manager.accepted_job();
    let cancel = sent(&manager.call(Object::Job(id), Method::CancelJob))[0].clone();
    let reason = "gone".to_owned();
    manager.event(Event::BusLost { reason });
    for request in [relay, list[0].clone(), list[1].clone(), cancel] {
        assert!(visible(manager.answer(&request, units(&[]))).is_empty());
    }
    assert!(manager.state.deadlines.is_empty());
    manager.event(Event::BusAttached);
    assert_eq!(
        visible(manager.done(RPI4, id, "done")),
        [removed(id, "done")]
    );
}

#[test]
fn a_caller_that_wants_no_reply_gets_none() {
    let mut manager = Manager::with_nodes();
    let call = Call {
        expects_reply: false,
        dialect: Dialect::Hirte,
        ..manager.next_call()
    };
    let method = Method::QueueJob {
        kind: JobKind::Start,
        unit: "httpd.service".to_owned(),
        mode: "replace".to_owned(),
    };
    let object = Object::Node("rpi4".to_owned());
    let event = Event::Call {
        call,
        object,
        method,
    };
    let request = sent(&manager.event(event))[0].clone();
    let actions = visible(manager.answer(&request, Body::default()));
    assert_eq!(actions, [Action::Emit(Signal::JobNew { id: 1 })]);
}

#[test]
fn an_older_agent_does_not_offer_every_method() {
    let mut manager = Manager::with_nodes();
    let unit = Body::of(&("a.service",));
    let request = sent(&manager.relay("rpi4", "FreezeUnit", unit))[0].clone();
    let error = CallError::new(error_name::UNKNOWN_METHOD, "Unknown method FreezeUnit.");
    let text = "Node 'rpi4' does not offer FreezeUnit: Unknown method FreezeUnit.";
    let refused = manager.refuse(&request, error);
    assert_eq!(refusal(&refused), Some((error_name::NOT_SUPPORTED, text)));
}

/// Rows of `ListUnitFiles`.
fn unit_files(endian: marshal::Endian, rows: &[(&str, &str)]) -> Body {
    let mut writer = marshal::Writer::with_order(endian, 0);
    writer.array(8, |writer| {
        for (path, state) in rows {
            writer.align(8);
            writer.str(path);
            writer.str(state);
        }
    });
    Body {
        signature: "a(ss)".into(),
        endian,
        bytes: writer.into_bytes(),
    }
}

#[test]
fn unit_files_of_all_nodes_are_listed_in_any_byte_order() {
    for detailed in [false, true] {
        let mut manager = Manager::with_nodes();
        let method = Method::ListUnitFiles { detailed };
        let requests = sent(&manager.call(Object::Manager, method));
        assert!(requests.iter().all(|sent| sent.is_call("ListUnitFiles")));
        let of_rpi4 = [
            ("/etc/b.service", "enabled"),
            ("/etc/ccc.service", "static"),
        ];
        manager.answer(&requests[1], unit_files(marshal::Endian::Big, &of_rpi4));
        let of_laptop = unit_files(marshal::Endian::Little, &[("/etc/a.service", "disabled")]);
        let actions = manager.answer(&requests[0], of_laptop);
        let files = vec![
            ("laptop", "/etc/a.service", "disabled"),
            ("rpi4", "/etc/b.service", "enabled"),
            ("rpi4", "/etc/ccc.service", "static"),
        ];
        let expected = if detailed {
            Body::of(&(files, Vec::<(&str, &str, &str)>::new()))
        } else {
            Body::of(&(files,))
        };
        assert_eq!(answer_of(&actions), &expected);
    }
}

#[test]
fn a_node_that_can_not_list_its_unit_files_is_named() {
    let mut manager = Manager::with_nodes();
    let method = Method::ListUnitFiles { detailed: true };
    let requests = sent(&manager.call(Object::Manager, method));
    let error = CallError::new(error_name::UNKNOWN_METHOD, "?");
    manager.refuse(&requests[1], error);
    let of_laptop = unit_files(marshal::Endian::Little, &[("/etc/a.service", "disabled")]);
    let actions = manager.answer(&requests[0], of_laptop);
    let files = vec![("laptop", "/etc/a.service", "disabled")];
    let text = "Node 'rpi4' does not offer ListUnitFiles: ?";
    let failures = vec![("rpi4", error_name::NOT_SUPPORTED, text)];
    assert_eq!(answer_of(&actions), &Body::of(&(files, failures)));
}
