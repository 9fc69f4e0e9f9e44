use super::*;
use crate::top::key::Key;

/// A state and what it wants.
struct View {
    state: State,
    actions: Vec<Action>,
    now_s: u64,
}

fn of(node: &str, unit: &str) -> Target {
    Target {
        node: node.to_owned(),
        unit: unit.to_owned(),
    }
}

fn told(name: &str, is_online: bool) -> Told {
    Told {
        name: name.to_owned(),
        is_online,
        last_seen_s: 7,
    }
}

fn listed(name: &str, active: &str) -> Listed {
    Listed {
        name: name.to_owned(),
        description: format!("The {name}"),
        load: "loaded".to_owned(),
        active: active.to_owned(),
        sub: active.to_owned(),
    }
}

impl View {
    /// Two nodes that are online, one that is not; units on the first two.
    fn new() -> Self {
        let mut view = Self {
            state: State::new(100, None),
            actions: Vec::new(),
            now_s: 100,
        };
        let nodes = vec![told("b", true), told("a", true), told("c", false)];
        view.tell(Event::Watching {
            nodes,
            jobs: Vec::new(),
        });
        assert_eq!(view.wanted(), [list("b", true), list("a", true)]);
        for node in ["b", "a"] {
            for (unit, active) in [("db.service", "active"), ("web.service", "inactive")] {
                view.new_unit(node, unit, false);
                view.unit(node, unit, active, false);
            }
        }
        view.settle();
        view
    }

    fn tell(&mut self, event: Event) {
        self.state.handle(self.now_s, event, &mut self.actions);
    }

    fn new_unit(&mut self, node: &str, unit: &str, is_real: bool) {
        let (node, unit) = (node.to_owned(), unit.to_owned());
        self.tell(Event::UnitNew {
            node,
            unit,
            is_real,
        });
    }

    fn unit(&mut self, node: &str, unit: &str, active: &str, is_real: bool) {
        self.tell(Event::UnitState {
            node: node.to_owned(),
            unit: unit.to_owned(),
            active: active.to_owned(),
            sub: active.to_owned(),
            is_real,
        });
    }

    fn remove(&mut self, node: &str, unit: &str, is_real: bool) {
        let (node, unit) = (node.to_owned(), unit.to_owned());
        self.tell(Event::UnitRemoved {
            node,
            unit,
            is_real,
        });
    }

    fn press(&mut self, keys: &str) {
        for character in keys.chars() {
            let key = match character {
                '\n' => Key::Enter,
                '\t' => Key::Tab,
                '\x1b' => Key::Escape,
                '\x08' => Key::Backspace,
                character => Key::Char(character),
            };
            self.tell(Event::Key(key));
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.state.settle(Heights {
            nodes: 5,
            units: 3,
            jobs: 2,
            log: 2,
            page: 4,
        });
    }

    fn wanted(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The units that are shown, and which is chosen.
    fn rows(&self) -> Vec<String> {
        let (chosen, _) = self.state.place(Pane::Units);
        let rows = self.state.unit_rows().into_iter().enumerate();
        let row = |(index, row): (usize, UnitRow<'_>)| {
            let mark = if index == chosen { ">" } else { "" };
            let stale = if row.unit.is_stale { "?" } else { "" };
            format!(
                "{mark}{}/{} {}{stale}",
                row.node.name, row.name, row.unit.active
            )
        };
        rows.map(row).collect()
    }

    fn log(&self) -> Vec<String> {
        let entries = (0..self.state.log.len()).filter_map(|index| self.state.log.get(index));
        let line = |entry: &Entry| format!("{} {} {}", entry.node, entry.unit, entry.words);
        entries.map(|entry| line(entry).trim().to_owned()).collect()
    }
}

#[test]
fn units_stand_in_the_order_of_nodes_and_names() {
    let mut view = View::new();
    assert_eq!(
        view.rows(),
        [
            ">b/db.service active",
            "b/web.service inactive",
            "a/db.service active",
            "a/web.service inactive"
        ]
    );
    assert_eq!(view.log(), [""; 0], "a snapshot is no news");
    view.press("jj");
    assert_eq!(view.state.chosen_node(), Some("a"));
    assert_eq!(
        view.rows(),
        [">a/db.service active", "a/web.service inactive"]
    );
    view.unit("a", "web.service", "failed", true);
    view.press("f");
    assert_eq!(view.rows(), [">a/web.service failed"]);
    view.press("f");
    view.unit("a", "web.service", "inactive", true);
    view.press("a");
    assert_eq!(view.rows(), [">a/db.service active"]);
    assert_eq!(
        view.log(),
        ["a web.service failed", "a web.service inactive"]
    );
    assert_eq!(view.state.status.0, "degraded");
}

#[test]
fn the_filter_finds_names_nodes_and_descriptions() {
    let mut view = View::new();
    view.tell(Event::Listed {
        node: "b".to_owned(),
        units: vec![
            listed("db.service", "active"),
            listed("web.service", "active"),
        ],
        files: None,
    });
    view.press("/WEB");
    assert_eq!(view.rows().len(), 2);
    view.press("\x08\x08\x08THE d\n");
    assert_eq!(view.rows(), [">b/db.service active"]);
    view.press("/x\x1b");
    assert_eq!(view.state.filter, "THE d", "as before");
    view.press("\x1b");
    assert_eq!(view.rows().len(), 4);
    view.press(&format!("/{}", "x".repeat(1000)));
    assert_eq!(view.state.filter.len(), limits::TOP_FILTER);
    view.settle();
    assert_eq!(view.rows(), [""; 0]);
    view.press("\x1b");
}

#[test]
fn a_job_is_asked_for_after_yes_alone() {
    let mut view = View::new();
    view.press("\tjs");
    let db = of("b", "web.service");
    assert_eq!(
        view.state.prompt,
        Some(Prompt::Confirm(JobKind::Start, db.clone()))
    );
    view.wanted();
    for no in ["n", "\x1b", "\n", "q", "s"] {
        view.press(no);
        assert_eq!(view.state.prompt, None);
        assert_eq!(view.wanted(), []);
        view.press("s");
    }
    view.press("y");
    assert_eq!(view.wanted(), [Action::Request(JobKind::Start, db.clone())]);
    view.press("ty");
    assert_eq!(view.wanted(), [Action::Request(JobKind::Stop, db.clone())]);
    view.press("ry");
    assert_eq!(
        view.wanted(),
        [Action::Request(JobKind::Restart, db.clone())]
    );

    // The first was so short that nobody could ask what it did.
    let ended = |id, result: &str| Event::JobEnded {
        id,
        node: "b".to_owned(),
        unit: "web.service".to_owned(),
        result: result.to_owned(),
    };
    view.tell(ended(1, "done"));
    view.tell(Event::Job(Job {
        id: 2,
        node: "b".to_owned(),
        unit: "web.service".to_owned(),
        kind: "stop".to_owned(),
        state: "waiting".to_owned(),
    }));
    view.tell(Event::JobState {
        id: 2,
        state: "running".to_owned(),
    });
    assert_eq!(view.state.fleet.jobs[&2].state, "running");
    view.tell(ended(2, "failed"));
    view.tell(Event::Refused {
        of: db,
        reason: "no".to_owned(),
    });
    view.tell(ended(3, "done"));
    assert_eq!(
        view.log(),
        [
            "b web.service start: done",
            "b web.service stop: failed",
            "b web.service no",
            "b web.service job: done"
        ]
    );
    assert!(view.state.fleet.jobs.is_empty());
}

#[test]
fn nothing_is_asked_where_nobody_would_answer() {
    let mut view = View::new();
    view.press("s");
    assert!(view.state.notice.is_some(), "a node is no unit");
    view.press("\t");
    view.tell(Event::Node {
        name: "b".to_owned(),
        is_online: false,
    });
    view.press("s");
    assert_eq!(view.state.notice.as_deref(), Some("Node 'b' is offline"));
    view.press("i");
    assert_eq!((&view.state.prompt, &view.state.page), (&None, &None));
    view.press("jjs");
    assert!(view.state.prompt.is_some());
    view.press("n");
    view.tell(Event::ManagerLost("gone".to_owned()));
    view.press("s");
    assert_eq!(view.state.notice.as_deref(), Some("The manager is lost"));
}

#[test]
fn what_is_known_of_a_lost_node_is_kept_and_stale() {
    let mut view = View::new();
    view.wanted();
    // The manager tells of the units first.
    for unit in ["db.service", "web.service"] {
        view.tell(Event::UnitState {
            node: "b".to_owned(),
            unit: unit.to_owned(),
            active: "inactive".to_owned(),
            sub: "agent-offline".to_owned(),
            is_real: false,
        });
        view.remove("b", unit, false);
    }
    view.tell(Event::Node {
        name: "b".to_owned(),
        is_online: false,
    });
    assert_eq!(
        view.rows()[..2],
        [">b/db.service active?", "b/web.service inactive?"]
    );
    view.wanted();
    view.now_s = 200;
    view.tell(Event::Node {
        name: "b".to_owned(),
        is_online: true,
    });
    assert_eq!(view.state.fleet.nodes[0].since_s, 200);
    assert_eq!(view.wanted(), [list("b", true)]);
    view.new_unit("b", "db.service", false);
    view.unit("b", "db.service", "failed", false);
    // The list is a little older than what was told.
    view.tell(Event::Listed {
        node: "b".to_owned(),
        units: vec![
            listed("db.service", "active"),
            listed("new.service", "active"),
        ],
        files: None,
    });
    assert_eq!(
        view.rows()[..2],
        [">b/db.service failed", "b/new.service active"]
    );
    assert_eq!(view.state.fleet.units, 4);
    assert_eq!(view.log(), ["b  offline", "b  online"]);
}

#[test]
fn a_unit_that_comes_is_listed_and_one_that_goes_is_gone() {
    let mut view = View::new();
    view.wanted();
    view.new_unit("a", "x.service", true);
    assert_eq!(view.wanted(), [list("a", false)]);
    view.remove("a", "x.service", true);
    view.remove("a", "x.service", true);
    assert_eq!(view.state.fleet.units, 4);
    view.new_unit("a", "*", false);
    view.unit("a", "*", "active", false);
    view.new_unit("nowhere", "x.service", true);
    view.new_unit("a", &"x".repeat(limits::MAX_NAME + 1), true);
    assert_eq!(view.state.fleet.units, 4);
    assert_eq!(view.wanted(), []);
}

#[test]
fn a_manager_that_returns_tells_everything_anew() {
    let mut view = View::new();
    view.now_s = 300;
    view.tell(Event::ManagerLost("gone".to_owned()));
    view.tell(Event::ManagerLost("still gone".to_owned()));
    assert_eq!(view.state.status, ("manager lost", 300));
    assert!(view.rows().iter().all(|row| row.ends_with('?')));
    view.tell(Event::Watching {
        nodes: vec![told("a", true)],
        jobs: Vec::new(),
    });
    assert_eq!(view.state.status.0, "up");
    view.tell(Event::Listed {
        node: "a".to_owned(),
        units: vec![listed("web.service", "active")],
        files: None,
    });
    view.settle();
    assert_eq!(view.rows(), [">a/web.service active"]);
    assert_eq!(view.state.fleet.units, 1);
    assert_eq!(
        view.log(),
        ["the manager is lost: gone", "the manager is back"]
    );
}

#[test]
fn a_page_follows_its_unit() {
    let mut view = View::new();
    view.wanted();
    view.press("\ti");
    let db = of("b", "db.service");
    assert_eq!(view.wanted(), [Action::Look(db.clone())]);
    // What happens before the answer makes it old.
    view.unit("b", "db.service", "failed", true);
    assert_eq!(view.wanted(), []);
    let lines = |count: usize| Event::Page {
        of: of("b", "db.service"),
        lines: Ok(vec!["line".to_owned(); count]),
    };
    view.tell(lines(10));
    assert_eq!(view.wanted(), [Action::Look(db.clone())]);
    view.tell(lines(10));
    assert_eq!(view.wanted(), []);
    view.press("G");
    assert_eq!(view.state.page.as_ref().unwrap().first, 6);
    view.press("ry");
    assert_eq!(view.wanted(), [Action::Request(JobKind::Restart, db)]);
    view.unit("a", "db.service", "failed", true);
    assert_eq!(view.wanted(), []);
    view.unit("b", "db.service", "active", true);
    assert_eq!(view.wanted().len(), 1);
    view.tell(lines(limits::TOP_PAGE_LINES + 1));
    let page = view.state.page.as_ref().unwrap();
    assert_eq!(page.lines.as_ref().unwrap().len(), limits::TOP_PAGE_LINES);
    view.press("q");
    assert_eq!(view.state.page, None);
    view.tell(lines(1));
    assert_eq!(view.state.page, None);
    view.press("q");
    assert_eq!(view.wanted(), [Action::Quit]);
}

#[test]
fn the_log_stays_at_its_end_unless_one_looks_back() {
    let mut view = View::new();
    let fill = |view: &mut View, count: usize| {
        for number in 0..count {
            let state = if number % 2 == 0 { "failed" } else { "active" };
            view.unit("a", "db.service", state, true);
            view.settle();
        }
    };
    fill(&mut view, 10);
    assert_eq!(view.state.place(Pane::Log), (9, 8));
    view.press("\t\t\tk");
    assert_eq!(view.state.place(Pane::Log).0, 8);
    fill(&mut view, 10);
    assert_eq!(view.state.place(Pane::Log).0, 8, "on its entry");
    fill(&mut view, limits::TOP_LOG_ENTRIES - 20 + 5);
    assert_eq!(view.state.log.len(), limits::TOP_LOG_ENTRIES);
    assert_eq!(view.state.place(Pane::Log).0, 3, "on its entry");
    fill(&mut view, 10);
    assert_eq!(view.state.place(Pane::Log).0, 0, "its entry is forgotten");
    view.press("G");
    fill(&mut view, 10);
    assert_eq!(view.state.place(Pane::Log).0, limits::TOP_LOG_ENTRIES - 1);
    // An entry leads to its unit.
    view.wanted();
    view.press("\n");
    assert_eq!(view.wanted(), [Action::Look(of("a", "db.service"))]);
}

#[test]
fn units_and_jobs_beyond_the_bounds_are_not_kept() {
    let mut view = View::new();
    for number in 0..limits::TOP_UNITS {
        view.new_unit("a", &format!("{number}.service"), false);
    }
    assert_eq!(view.state.fleet.units, limits::TOP_UNITS);
    assert!(view.state.fleet.is_cut);
    for id in 0..=u32::try_from(limits::TOP_JOBS).unwrap() {
        view.tell(Event::Job(Job {
            id,
            node: "a".to_owned(),
            unit: "x".to_owned(),
            kind: "start".to_owned(),
            state: "running".to_owned(),
        }));
    }
    assert_eq!(view.state.fleet.jobs.len(), limits::TOP_JOBS);
    view.settle();
    view.press("\t\tj");
    assert_eq!(view.state.place(Pane::Jobs).0, 1);
}

#[test]
fn requests_that_wait_are_bounded() {
    let mut view = View::new();
    view.press("\t");
    view.wanted();
    for _ in 0..=limits::TOP_REQUESTS {
        view.press("sy");
    }
    assert_eq!(view.wanted().len(), limits::TOP_REQUESTS);
    assert!(view.state.notice.is_some());
}

#[test]
fn a_chosen_node_waits_until_it_is_known() {
    let mut state = State::new(0, Some("c".to_owned()));
    state.settle(Heights::default());
    assert_eq!((state.chosen_node(), state.focus), (Some("c"), Pane::Units));
    let mut actions = Vec::new();
    let nodes = vec![told("a", true), told("c", true)];
    let jobs = Vec::new();
    state.handle(0, Event::Watching { nodes, jobs }, &mut actions);
    state.settle(Heights::default());
    assert_eq!(
        (state.chosen_node(), state.place(Pane::Nodes).0),
        (Some("c"), 2)
    );
}

#[test]
fn a_unit_with_a_file_stays_in_sight_when_it_is_unloaded() {
    let mut view = View::new();
    let file = |name: &str| File {
        name: name.to_owned(),
        is_masked: false,
    };
    view.tell(Event::Listed {
        node: "a".to_owned(),
        units: vec![listed("db.service", "active")],
        files: Some(vec![file("db.service"), file("x.service")]),
    });
    view.press("jj");
    assert_eq!(
        view.rows(),
        [">a/db.service active", "a/web.service inactive"]
    );
    view.press("aa");
    assert_eq!(view.rows().len(), 3);
    assert_eq!(view.state.fleet.node("a").unwrap().loaded(), 2);
    view.press("a");
    view.remove("a", "db.service", true);
    view.remove("a", "web.service", true);
    view.settle();
    assert_eq!(view.rows(), [">a/db.service inactive"]);
    assert_eq!(view.state.fleet.units, 4);
    view.new_unit("a", "x.service", true);
    view.unit("a", "x.service", "active", true);
    assert_eq!(
        view.rows(),
        [">a/db.service inactive", "a/x.service active"]
    );
    // A node that returns without the file.
    for is_online in [false, true] {
        let name = "a".to_owned();
        view.tell(Event::Node { name, is_online });
    }
    view.tell(Event::Listed {
        node: "a".to_owned(),
        units: vec![listed("x.service", "active")],
        files: Some(vec![file("x.service")]),
    });
    assert_eq!(view.rows(), [">a/x.service active"]);
}
