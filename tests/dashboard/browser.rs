//! A real browser on a node: headless Chromium, driven over `WebDriver` (W3C) by HTTP.

use std::{
    cell::RefCell,
    io::{BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    http::read_answer,
    lab::{Node, Running, holds_within},
};

/// The port of Debian's chromedriver on the node.
const PORT: u16 = 9515;
/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a person may wait for a change on the page.
const SOON: Duration = Duration::from_secs(20);

const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--user-data-dir=/tmp/chromium",
];

/// Carries bytes between the pipes and a connection within the node's network.
const PIPE: &str = "exec 3<>/dev/tcp/127.0.0.1/\"$0\"; cat <&3 & exec cat >&3";

/// A connection to the driver.
struct Wire {
    carrier: Child,
    output: ChildStdin,
    input: BufReader<ChildStdout>,
}

impl Wire {
    fn open(node: &Node) -> Self {
        let pid = node.pid().expect("the node is on").to_string();
        let mut carrier = Command::new("nsenter")
            .args([
                "--target",
                &pid,
                "--net",
                "--",
                "setpriv",
                "--pdeathsig",
                "KILL",
            ])
            .args(["bash", "-c", PIPE, &PORT.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // That nobody listens yet.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = carrier.stdin.take().unwrap();
        let input = BufReader::new(carrier.stdout.take().unwrap());
        Self {
            carrier,
            output,
            input,
        }
    }

    /// One request; what is answered, if anything is.
    fn exchange(&mut self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.output.write_all(request.as_bytes()).ok()?;
        self.output.flush().ok()?;
        let answer = read_answer(&mut self.input, true)?;
        let mut answer: Value = serde_json::from_str(&answer.body).ok()?;
        Some(answer["value"].take())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.carrier.kill();
        let _ = self.carrier.wait();
    }
}

/// The browser with its one page.
pub struct Browser {
    wire: RefCell<Wire>,
    session: String,
    _driver: Running,
}

impl Browser {
    pub fn start(node: &Node) -> Self {
        let port = format!("--port={PORT}");
        let driver = node.spawn(&["chromedriver", &port]);
        let mut wire = Wire::open(node);
        let is_ready = || {
            let status = wire.exchange("GET", "/status", &Value::Null);
            let is_ready = status.is_some_and(|status| status["ready"] == true);
            if !is_ready {
                wire = Wire::open(node);
            }
            is_ready
        };
        assert!(
            holds_within(PATIENCE, is_ready),
            "chromedriver is not ready: {}",
            driver.stderr()
        );
        let options = json!({"args": ARGUMENTS});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options
        }}});
        let session = wire.exchange("POST", "/session", &wanted).unwrap();
        let id = session["sessionId"].as_str();
        let id = id.unwrap_or_else(|| panic!("{session:#}")).to_owned();
        Self {
            wire: RefCell::new(wire),
            session: id,
            _driver: driver,
        }
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        let answer = self.wire.borrow_mut().exchange(method, &path, body);
        let answer = answer.unwrap_or_else(|| panic!("no answer to {path}"));
        assert!(answer["error"].is_null(), "{path} {body}: {answer}");
        answer
    }

    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({"url": url}));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        self.command("POST", "/execute/sync", &body)
    }

    /// Waits until an expression is true.
    pub fn wait(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        if !holds_within(SOON, || self.run(&script) == true) {
            let shown = self.run("return document.body.innerText");
            panic!(
                "in vain: {expression}\n{}",
                shown.as_str().unwrap_or_default()
            );
        }
    }

    /// The element that a selector finds.
    fn element(&self, selector: &str) -> String {
        let body = json!({"using": "css selector", "value": selector});
        let found = self.command("POST", "/element", &body);
        let (_, id) = found.as_object().unwrap().iter().next().unwrap();
        id.as_str().unwrap().to_owned()
    }

    /// Clicks as a person does: what is in the way gets the click, and is an error.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into an element.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        let body = json!({"text": text});
        self.command("POST", &format!("/element/{element}/value"), &body);
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        let body = json!({"cmd": command, "params": parameters});
        self.command("POST", "/goog/cdp/execute", &body);
    }

    /// The size of the page in pixels, and whether people like it dark.
    pub fn look(&self, (width, height): (u32, u32), is_dark: bool) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// A picture of what is shown, without a pointer on it, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let corner = json!({"type": "mouseMoved", "x": 0, "y": 0});
        self.devtools("Input.dispatchMouseEvent", &corner);
        let picture = self.command("GET", "/screenshot", &Value::Null);
        from_base64(picture.as_str().unwrap())
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = DIGITS.iter().position(|digit| *digit == byte).unwrap();
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}

#[test]
fn base64_is_read() {
    assert_eq!(from_base64("aGlydGU="), b"hirte");
    assert_eq!(from_base64("/+8A"), [0xff, 0xef, 0]);
}
