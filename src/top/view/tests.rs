use ratatui_core::{backend::TestBackend, buffer::Cell, terminal::Terminal};

use super::{
    super::{
        key::Key,
        state::{Event, Job, Listed, Told},
    },
    *,
};

fn listed(name: &str, description: &str, active: &str, sub: &str) -> Listed {
    Listed {
        name: name.to_owned(),
        description: description.to_owned(),
        load: "loaded".to_owned(),
        active: active.to_owned(),
        sub: sub.to_owned(),
    }
}

/// A fleet of two nodes, of which one is offline.
fn fleet() -> State {
    let mut state = State::new(0, None);
    let told = |name: &str, is_online| Told {
        name: name.to_owned(),
        is_online,
        last_seen_s: 3_661,
    };
    let mut actions = Vec::new();
    let web = listed("web.service", "The web server", "active", "running");
    let events = [
        Event::Watching {
            nodes: vec![told("laptop", true), told("rpi4", false)],
            jobs: vec![Job {
                id: 7,
                node: "laptop".to_owned(),
                unit: "db.service".to_owned(),
                kind: "start".to_owned(),
                state: "running".to_owned(),
            }],
        },
        Event::Listed {
            node: "laptop".to_owned(),
            units: vec![listed("db.service", "Data", "failed", "failed"), web],
            files: None,
        },
        Event::UnitState {
            node: "laptop".to_owned(),
            unit: "web.service".to_owned(),
            active: "inactive".to_owned(),
            sub: "dead".to_owned(),
            is_real: true,
        },
    ];
    for event in events {
        state.handle(3_600, event, &mut actions);
    }
    state
}

fn press(state: &mut State, keys: &[Key]) {
    for key in keys {
        state.handle(3_600, Event::Key(*key), &mut Vec::new());
    }
}

/// The picture on a terminal of this size.
fn picture(state: &mut State, (width, height): (u16, u16), has_colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let zone = Zone::utc();
    let frame = terminal.draw(|frame| {
        let places = Places::of(frame.area(), state.focus);
        state.settle(places.heights());
        let look = Look::new(has_colours);
        draw(frame.buffer_mut(), state, &places, &zone, look);
    });
    frame.unwrap().buffer.clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let symbols: Vec<&str> = buffer.content.iter().map(Cell::symbol).collect();
    let rows = symbols.chunks(width.max(1));
    rows.map(|row| row.concat().trim_end().to_owned()).collect()
}

fn shown(state: &mut State, size: (u16, u16)) -> Vec<String> {
    lines(&picture(state, size, true))
}

#[test]
fn all_lists_are_there_on_a_usual_terminal() {
    let seen = shown(&mut fleet(), (80, 24));
    assert_eq!(
        seen[..6],
        [
            "hirte degraded  1 of 2 nodes  1 failed  1 job  2 units            since 01:00:00",
            "▶ Nodes ─────────────── ─ Units (1 of 2) ───────────────────────────────────────",
            "all nodes      degraded NODE         UNIT                     ACTIVE   SUB",
            "laptop         1 failed laptop       db.service               failed   failed",
            "rpi4            offline laptop       web.service              inactive dead",
            "",
        ]
    );
    assert_eq!(
        seen[16..19],
        [
            "─ Jobs (1) ──────────── ─ Log ──────────────────────────────────────────────────",
            "start db.service lapto… 01:00:00 laptop web.service inactive (dead)",
            "",
        ]
    );
    let keys = "Tab list  Enter look  s start  t stop  r restart  / filter  h help  q quit";
    assert_eq!(seen[23], keys);
}

#[test]
fn a_large_terminal_tells_more() {
    let mut state = fleet();
    press(&mut state, &[Key::Down, Key::Tab]);
    let seen = shown(&mut state, (132, 40));
    assert_eq!(
        seen[1..5],
        [
            "─ Nodes ────────────────────────────── ▶ Units of laptop (1 of 2) \
             ──────────────────────────────────────────────────────────────────",
            "all nodes                     degraded UNIT                                LOAD      \
             ACTIVE   SUB       DESCRIPTION",
            "laptop                        1 failed db.service                          loaded    \
             failed   failed    Data",
            "rpi4            offline since 01:01:01 web.service                         loaded    \
             inactive dead      The web server",
        ]
    );
}

#[test]
fn one_list_is_there_on_a_small_terminal() {
    let mut state = fleet();
    assert_eq!(
        shown(&mut state, (40, 10))[..5],
        [
            "hirte degraded  1 of 2 nodes  1 failed",
            "▶ Nodes ────────────────────────────────",
            "all nodes                       degraded",
            "laptop                          1 failed",
            "rpi4              offline since 01:01:01",
        ]
    );
    press(&mut state, &[Key::Down, Key::Tab]);
    let seen = shown(&mut state, (40, 10));
    assert_eq!(seen[1], "▶ Units of laptop (1 of 2) ─────────────");
    assert_eq!(seen[3], "db.service            failed   failed");
    assert_eq!(seen[9], "Tab list  Enter look  h help  q quit");
}

#[test]
fn the_last_line_asks_and_tells() {
    let mut state = fleet();
    let last = |state: &mut State| shown(state, (80, 24)).pop().unwrap();
    last(&mut state);
    press(&mut state, &[Key::Tab, Key::Char('s')]);
    assert_eq!(last(&mut state), "Start db.service on laptop? y/n");
    press(&mut state, &[Key::Char('y')]);
    assert_eq!(last(&mut state), "Asked laptop to start db.service");
    press(&mut state, &[Key::Char('/'), Key::Char('w')]);
    assert_eq!(last(&mut state), "/w_");
}

#[test]
fn any_size_has_a_picture() {
    for help in [false, true] {
        for width in (0..100).step_by(3) {
            for height in (0..30).chain([60]) {
                let mut state = fleet();
                press(
                    &mut state,
                    if help {
                        &[Key::Char('?')]
                    } else {
                        &[Key::Tab, Key::Char('s')]
                    },
                );
                picture(&mut state, (width, height), true);
            }
        }
    }
}

#[test]
fn hostile_names_are_escaped() {
    let mut state = fleet();
    let hostile = "x\u{1b}]0;taken\u{7}\u{202e}\n";
    let listed = listed(hostile, hostile, hostile, hostile);
    for event in [
        Event::Listed {
            node: "laptop".to_owned(),
            units: vec![listed],
            files: None,
        },
        Event::UnitState {
            node: "laptop".to_owned(),
            unit: hostile.to_owned(),
            active: hostile.to_owned(),
            sub: hostile.to_owned(),
            is_real: true,
        },
        Event::ManagerLost(hostile.to_owned()),
    ] {
        state.handle(3_600, event, &mut Vec::new());
        let buffer = picture(&mut state, (200, 40), true);
        let text = lines(&buffer).concat();
        assert!(text.contains(r"x\x1b]0;taken\x07\u{202e}\x0a"), "{text}");
        let is_hostile = crate::ctl::output::is_hostile;
        assert!(!text.chars().any(is_hostile), "{text}");
    }
}

#[test]
fn words_tell_without_colours_what_colours_tell() {
    let mut state = fleet();
    let colours = |buffer: &Buffer| {
        let colours = buffer.content.iter().map(|cell| cell.fg);
        colours.filter(|colour| *colour != Color::Reset).count()
    };
    assert!(colours(&picture(&mut state, (80, 24), true)) > 0);
    let buffer = picture(&mut state, (80, 24), false);
    assert_eq!(colours(&buffer), 0);
    let is_chosen = |cell: &Cell| cell.modifier.contains(Modifier::REVERSED);
    assert!(buffer.content.iter().any(is_chosen));
}

/// The columns behind a text of wide characters stay where they are, and where it is cut, no half of one
/// is left.
#[test]
fn wide_characters_take_two_places() {
    let mut state = fleet();
    let wide = listed(
        "数据库服务器数据库服务器.service",
        "数据",
        "active",
        "running",
    );
    state.handle(
        3_600,
        Event::Listed {
            node: "laptop".to_owned(),
            units: vec![wide],
            files: None,
        },
        &mut Vec::new(),
    );
    press(&mut state, &[Key::Down, Key::Tab]);
    for size in [(40, 10), (41, 10), (80, 24), (132, 40)] {
        let buffer = picture(&mut state, size, true);
        let row = |y: u16| (0..size.0).map(move |x| (x, y));
        let find = |y: u16, word: &str| {
            let starts = |&(x, y): &(u16, u16)| {
                let letters = word.chars().zip(x..);
                letters.into_iter().all(|(letter, x)| {
                    let cell = buffer.cell((x, y));
                    cell.is_some_and(|cell| cell.symbol() == letter.to_string())
                })
            };
            row(y).find(starts).map(|(x, _)| x)
        };
        let (header, unit) = (2, 5);
        let column = find(header, "ACTIVE");
        assert!(column.is_some(), "{size:?}: {buffer:?}");
        assert_eq!(find(unit, "active"), column, "{size:?}: {buffer:?}");
        let is_cut = find(unit, "…").is_some();
        let is_whole = find(unit, ".service").is_some();
        assert!(is_cut != is_whole, "{size:?}: {buffer:?}");
    }
}
