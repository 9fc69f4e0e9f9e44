//! The page in a browser, beside real nodes.

use std::{env, fs, path::Path, time::Duration};

use crate::{
    browser::Browser,
    daemons::install_tree,
    lab::{self, Lab, Node, holds_within},
};

const URL: &str = "http://127.0.0.1:8420/";
/// A phone that is narrow.
const PHONE: (u32, u32) = (360, 740);
const DESK: (u32, u32) = (1280, 800);
/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(20);
/// Bytes of a picture in docs/images.
const PICTURE: usize = 150_000;

const NODES: [(&str, &str); 3] = [
    ("laptop", "192.168.42.10"),
    ("rpi4", "192.168.42.15"),
    ("edge-2", "192.168.42.16"),
];

/// A unit by its name and description, on the node that has it.
const UNITS: [(usize, &str, &str, &str); 7] = [
    (
        1,
        "web.service",
        "Web server of the kiosk",
        "sleep infinity",
    ),
    (1, "camera.service", "Camera at the gate", "sleep infinity"),
    (
        1,
        "slow.service",
        "Service that waits for its file",
        "sleep infinity\nExecStartPre=sh -c 'until test -e /run/go; do sleep .1; done'",
    ),
    (1, "broken.service", "Calibration of the lidar", "false"),
    (
        2,
        "sensor.service",
        "Temperature of the battery",
        "sleep infinity",
    ),
    (2, "navigation.service", "Route planner", "sleep infinity"),
    (
        2,
        r"hostile\x2dunit.service",
        "<img src=x onerror=document.title='owned'>\u{202e}<script>",
        "sleep infinity",
    ),
];

/// Whether all text has the contrast of WCAG 2.2, 1.4.3; what has not.
const CONTRAST: &str = r"
    const channels = (color) => color.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const part = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            if (color.startsWith('rgb(')) return channels(color);
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const element of document.querySelectorAll('body *')) {
        const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!hasText || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const [a, b] = [light(channels(style.color)), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const isLarge = parseFloat(style.fontSize) >= 24;
        if (ratio < (isLarge ? 3 : 4.5)) poor.push(`${element.className} ${element.textContent}: ${ratio}`);
    }
    return poor;";

/// What has no name for who does not see it.
const NAMELESS: &str = "return [...document.querySelectorAll('button, input, select, a')]
    .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute('aria-label')
        || e.labels?.[0]?.textContent.trim()))
    .map((e) => e.outerHTML)";

struct Fleet {
    lab: Lab,
    nodes: [Node; 3],
}

fn fleet() -> Fleet {
    let lab = Lab::builder("dashboard").layer(install_tree()).build();
    let nodes = lab.boot(&NODES);
    for (node, name, description, command) in UNITS {
        let text = format!(
            "[Unit]\nDescription={description}\n[Service]\nExecStart={command}\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        nodes[node].write(&format!("/etc/systemd/system/{name}"), text);
    }
    let names = NODES.map(|(name, _)| name).join(",");
    let config = format!("[hirte]\nAllowedNodeNames={names}\nNodeHeartbeatThreshold=2s\n");
    nodes[0].write("/etc/hirte/hirte.conf", config);
    for node in &nodes {
        let config = format!(
            "[hirte-agent]\nNodeName={}\nManagerHost=192.168.42.10\nHeartbeatInterval=500ms\n",
            node.name()
        );
        node.write("/etc/hirte/agent.conf", config);
    }
    nodes[0].systemctl(&["start", "hirte", "hirte-dashboard"]);
    for node in &nodes {
        node.systemctl(&["daemon-reload"]);
        node.systemctl(&["start", "hirte-agent"]);
    }
    nodes[2].systemctl(&["start", "sensor.service", r"hostile\x2dunit.service"]);
    Fleet { lab, nodes }
}

/// An expression for the row of a unit.
fn row(unit: &str) -> String {
    format!("document.querySelector('[data-unit=\"{unit}\"]')")
}

fn state(unit: &str) -> String {
    format!("{}?.dataset.state", row(unit))
}

/// Takes a picture for the documents, after the look was checked.
fn picture(browser: &Browser, name: &str, size: (u32, u32), is_dark: bool) {
    browser.look(size, is_dark);
    let is_narrow = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    browser.wait(is_narrow);
    let poor = browser.run(CONTRAST);
    assert_eq!(poor.as_array().unwrap().len(), 0, "{name}: {poor:#}");
    let nameless = browser.run(NAMELESS);
    assert_eq!(
        nameless.as_array().unwrap().len(),
        0,
        "{name}: {nameless:#}"
    );
    let picture = browser.picture();
    assert!(picture.starts_with(b"\x89PNG"));
    assert!(
        picture.len() < PICTURE,
        "{name} has {} bytes",
        picture.len()
    );
    let folder = if env::var_os("HIRTE_UPDATE").is_some() {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images")
    } else {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard")
    };
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("dashboard-{name}.png")), picture).unwrap();
}

#[test]
fn the_page_shows_real_nodes_live() {
    if !lab::require() {
        return;
    }
    let fleet = fleet();
    let [laptop, rpi4, edge] = &fleet.nodes;
    let browser = Browser::start(laptop);
    browser.look(DESK, false);
    browser.open(URL);
    browser.wait("document.querySelectorAll('.node-card .chip.active').length === 3");
    browser.wait("document.querySelector('#link').textContent === 'live'");
    // What is set here is gone after the page is loaded anew.
    browser.run("window.isTheSame = true");

    shows_units_as_they_change(&browser, rpi4);
    is_safe_from_names(&browser, edge);
    filters(&browser);
    shows_without_control(&browser, laptop);

    picture(&browser, "light", DESK, false);
    picture(&browser, "dark", DESK, true);
    picture(&browser, "phone", PHONE, false);
    browser.look(DESK, false);

    loses_and_finds(&browser, &fleet);
    assert_eq!(browser.run("return window.isTheSame"), true);
    controls(&browser, laptop, rpi4);
}

fn shows_units_as_they_change(browser: &Browser, rpi4: &Node) {
    rpi4.systemctl(&["start", "web.service"]);
    browser.wait(&format!("{} === 'active'", state("web.service")));
    let about = format!("{}.querySelector('.about').textContent", row("web.service"));
    browser.wait(&format!("{about} === 'running · Web server of the kiosk'"));
    rpi4.systemctl(&["stop", "web.service"]);
    browser.wait(&format!("{} !== 'active'", state("web.service")));
    rpi4.systemctl(&["start", "web.service"]);
    browser.wait(&format!("{} === 'active'", state("web.service")));
    rpi4.systemctl(&["start", "camera.service", "broken.service"]);
    browser.wait("document.querySelector('.unit').dataset.unit === 'broken.service'");
    browser.wait("document.querySelector('.unit .chip').textContent === 'failed'");
    browser.wait("document.title === '(1) hirte'");
    browser.wait("document.querySelector('#tile-failed b').textContent === '1'");
    browser.wait("document.querySelector('#events li').textContent.includes('broken.service')");
    browser.wait("document.querySelector('#say').textContent.includes('broken.service')");
}

fn is_safe_from_names(browser: &Browser, edge: &Node) {
    let hostile = r"hostile\\\\x2dunit.service";
    browser.wait(&format!("{} === 'active'", state(hostile)));
    browser.wait(&format!(
        "{}.textContent.includes('<img src=x onerror=')",
        row(hostile)
    ));
    let elements =
        browser.run("return document.querySelectorAll('#units img, #units script').length");
    assert_eq!(elements, 0);
    assert!(edge.is_on());
}

fn filters(browser: &Browser) {
    browser.type_into("body", "/");
    browser.wait("document.activeElement.id === 'text'");
    browser.type_into("#text", "CAMERA gate");
    browser.wait("location.hash === '#q=CAMERA+gate'");
    browser.wait("document.querySelectorAll('.unit').length === 1");
    browser.wait(&format!("{} === 'active'", state("camera.service")));
    browser.type_into("#text", " nothing");
    browser.wait("!document.querySelector('#no-units').hidden");
    browser.click("#clear");
    browser.wait("location.hash === '' && document.querySelectorAll('.unit').length > 20");
    browser.click(".node-card[aria-pressed=false]");
    browser.wait("location.hash === '#node=laptop'");
    browser.wait(
        "[...document.querySelectorAll('.unit')].every((it) => it.dataset.node === 'laptop')",
    );
    // A filter is a link that people send.
    browser.run("location.hash = 'state=failed&node=rpi4'");
    browser.wait("document.querySelectorAll('.unit').length === 1");
    browser.wait("document.querySelector('#node').value === 'rpi4'");
    browser.wait("document.querySelector('input[value=failed]').checked");
    // One that names no state has none.
    browser.run("location.hash = 'state=toString'");
    browser.wait("document.querySelectorAll('.unit').length > 20");
    browser.wait("document.querySelector('input[name=state][value=\"\"]').checked");
    browser.run("location.hash = ''");
    browser.wait("document.querySelectorAll('.unit').length > 20");
}

fn shows_without_control(browser: &Browser, laptop: &Node) {
    let buttons = browser.run("return document.querySelectorAll('.acts button').length");
    assert_eq!(buttons, 0);
    let unit = "hirte-dashboard.service";
    let user = laptop.systemctl(&["show", "--property=User", "--value", unit]);
    assert_eq!(user.trim(), "hirte-dashboard");
    let exposure = laptop.ok(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=20",
        unit,
    ]);
    println!("{}", exposure.lines().last().unwrap_or_default());
    let pid = laptop.pid_of(unit).unwrap();
    let memory = laptop.ok(&["grep", "VmRSS", &format!("/proc/{pid}/status")]);
    println!("{memory}");
}

fn loses_and_finds(browser: &Browser, fleet: &Fleet) {
    let [laptop, rpi4, _] = &fleet.nodes;
    fleet.lab.cut(laptop, rpi4);
    browser.wait("document.querySelector('.node-card.offline strong')?.textContent === 'rpi4'");
    browser.wait(&format!("{} === null", row("web.service")));
    browser.wait("document.querySelector('#tile-nodes b').textContent === '2/3'");
    fleet.lab.heal(laptop, rpi4);
    browser.wait("document.querySelector('.node-card.offline') === null");
    browser.wait(&format!("{} === 'active'", state("web.service")));

    laptop.systemctl(&["stop", "hirte"]);
    browser.wait("document.querySelector('#link').textContent === 'no manager'");
    browser.wait("!document.querySelector('#banner').hidden && document.body.matches('.stale')");
    picture(browser, "lost", (900, 480), false);
    browser.look(DESK, false);
    laptop.systemctl(&["start", "hirte"]);
    browser.wait("document.querySelector('#banner').hidden");
    browser.wait(&format!("{} === 'active'", state("web.service")));

    laptop.systemctl(&["stop", "hirte-dashboard"]);
    browser.wait("document.querySelector('#link').textContent === 'reconnecting'");
    rpi4.systemctl(&["stop", "web.service"]);
    let events = "document.querySelectorAll('#events li')";
    browser.run(&format!(
        "for (const row of {events}) row.dataset.isOld = ''"
    ));
    laptop.systemctl(&["start", "hirte-dashboard"]);
    browser.wait("document.querySelector('#link').textContent === 'live'");
    browser.wait(&format!("{} !== 'active'", state("web.service")));
    // The numbers of its events are those of earlier ones.
    browser.wait(&format!(
        "[...{events}].some((row) => row.textContent.startsWith('Connected to the manager'))"
    ));
    browser.wait("document.querySelector('#events [data-is-old]') === null");
}

/// The block of docs/dashboard.md behind a line that names its file.
fn documented(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dashboard.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("`{file}`:\n\n```")).expect(file);
    let (_, block) = rest.split_once('\n').unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// With the documented steps buttons work.
fn controls(browser: &Browser, laptop: &Node, rpi4: &Node) {
    for file in [
        "/etc/dbus-1/system.d/hirte-dashboard.conf",
        "/etc/systemd/system/hirte-dashboard.service.d/control.conf",
    ] {
        laptop.write(file, documented(file));
    }
    laptop.systemctl(&["daemon-reload"]);
    laptop.systemctl(&["reload", "dbus"]);
    laptop.systemctl(&["restart", "hirte-dashboard"]);
    rpi4.systemctl(&["stop", "camera.service"]);
    browser.wait(&format!(
        "{} === 'live'",
        "document.querySelector('#link').textContent"
    ));
    browser.run("location.hash = 'q=service&node=rpi4'");
    browser.wait("document.querySelectorAll('.acts button').length > 10");
    browser.run("document.querySelector('#filter').scrollIntoView()");
    picture(browser, "control", PHONE, true);
    browser.look(DESK, true);

    // systemd has forgotten it by now, and it is installed.
    browser.run("location.hash = 'q=camera'");
    browser.wait("document.querySelectorAll('.unit').length === 1");
    browser.wait(&format!(
        "{}.textContent.includes('not loaded')",
        row("camera.service")
    ));
    browser.click("[data-action=start]");
    browser.wait(&format!("{} === 'active'", state("camera.service")));
    let is_active = || {
        rpi4.run(&["systemctl", "is-active", "camera.service"])
            .success()
    };
    assert!(is_active());
    let process = || rpi4.pid_of("camera.service");
    let before = process();
    confirm(browser, "restart");
    assert!(
        holds_within(SOON, || process().is_some_and(|it| Some(it) != before)),
        "it is restarted"
    );
    browser.wait(&format!("{} === 'active'", state("camera.service")));
    confirm(browser, "stop");
    assert!(holds_within(SOON, || !is_active()), "it is stopped");
    browser.wait(&format!("{} !== 'active'", state("camera.service")));
    // Whoever uses the keyboard goes on there.
    browser.wait("document.activeElement.dataset.action === 'start'");
    complains_of_proxies(browser);
    shows_jobs(browser, rpi4);
    let log = laptop.journal("hirte-dashboard.service");
    assert!(
        log.contains("Request to stop camera.service of node rpi4 from 127.0.0.1:"),
        "{log}"
    );
}

/// Presses a button that asks once more. A double click is one click, and confirms nothing.
fn confirm(browser: &Browser, action: &str) {
    let button = format!("document.querySelector('[data-action={action}]')");
    browser.wait(&button);
    let words = browser.run(&format!(
        "const button = {button};
         button.focus();
         button.click();
         button.click();
         setTimeout(() => button.click(), 1000);
         return button.textContent;"
    ));
    assert_eq!(words, format!("Really {action}?"));
}

/// What a reverse proxy answers in place of the dashboard is no JSON.
fn complains_of_proxies(browser: &Browser) {
    browser.run(
        "window.kept = window.fetch;
         window.fetch = async () => new Response('<h1>Oh</h1>', { status: 502, statusText: 'Bad Gateway' });",
    );
    browser.click("[data-action=start]");
    browser.wait(
        "document.querySelector('#notice').textContent ===
            'start camera.service on rpi4: the answer was 502 Bad Gateway'",
    );
    browser.run("window.fetch = window.kept");
    browser.wait("document.querySelector('[data-action=start]:not([aria-disabled])')");
}

/// A job is shown as long as it goes on.
fn shows_jobs(browser: &Browser, rpi4: &Node) {
    browser.run("location.hash = 'q=slow'");
    browser.wait(&format!(
        "{}?.querySelector('[data-action=start]')",
        row("slow.service")
    ));
    browser.click("[data-unit='slow.service'] [data-action=start]");
    let job = "document.querySelector('#jobs li')";
    browser.wait(&format!(
        "{job}?.textContent.startsWith('runningstart slow.serviceon rpi4 · job ')"
    ));
    browser.wait("document.querySelector('#no-jobs').hidden");
    browser.wait("document.querySelector('#tile-jobs b').textContent === '1'");
    browser.wait(&format!("{} === 'activating'", state("slow.service")));
    rpi4.write("/run/go", "");
    browser.wait(&format!("{job} === null"));
    browser.wait("!document.querySelector('#no-jobs').hidden");
    browser.wait(&format!("{} === 'active'", state("slow.service")));
    browser.wait(
        "[...document.querySelectorAll('#events li')].some((row) =>
            row.textContent.startsWith('start of slow.service on rpi4: done'))",
    );
}
