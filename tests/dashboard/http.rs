//! HTTP as a program speaks it that sees every byte, and a running dashboard.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::daemons::{Folder, Manager, SOON, program, within};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Fields by their names in small letters.
    pub fields: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Reads the head of an answer.
fn read_head(reader: &mut impl BufRead) -> Option<Answer> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut fields = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        fields.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(Answer {
        status,
        fields,
        body: String::new(),
    })
}

/// Reads an answer with its body; nothing when the connection ends before it is complete.
pub fn read_answer(reader: &mut impl BufRead, has_body: bool) -> Option<Answer> {
    let mut answer = read_head(reader)?;
    let length = answer.field("content-length").parse().unwrap_or(0);
    let mut body = vec![0; if has_body { length } else { 0 }];
    reader.read_exact(&mut body).ok()?;
    answer.body = String::from_utf8(body).unwrap();
    Some(answer)
}

/// A running `hirte-dashboard`. Dropping it ends it, and prints its log if the test fails.
pub struct Dashboard {
    process: Child,
    pub address: SocketAddr,
    folder: Folder,
}

impl Dashboard {
    /// Starts it beside a manager, on an unused port.
    pub fn start(manager: &Manager, options: &[&str]) -> Self {
        let folder = Folder::new();
        let bus = format!("unix:path={}", manager.bus.socket().display());
        let process = Command::new(program("hirte-dashboard"))
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stderr(File::create(folder.path("log")).unwrap())
            .spawn()
            .expect("hirte-dashboard starts");
        let mut dashboard = Self {
            process,
            address: ([127, 0, 0, 1], 0).into(),
            folder,
        };
        within(SOON, "it listens", || {
            let log = dashboard.log();
            let address = log
                .split("http://")
                .nth(1)
                .and_then(|it| it.split('/').next());
            dashboard.address = address.map_or(dashboard.address, |it| it.parse().unwrap());
            dashboard.address.port() != 0
        });
        within(SOON, "it has told what it knows", || {
            let all = dashboard.follow(None).next();
            !all.id.ends_with("-0") && !all.data["nodes"][0].is_null()
        });
        dashboard
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// What is answered to these lines, with `Host` and `Connection` added.
    pub fn ask(&self, lines: &str, body: &str) -> Answer {
        let (first, fields) = lines.split_once('\n').unwrap_or((lines, ""));
        let fields = fields
            .lines()
            .fold(String::new(), |all, line| all + line.trim() + "\r\n");
        let host = if fields.to_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let request =
            format!("{first} HTTP/1.1\r\n{host}Connection: close\r\n{length}{fields}\r\n{body}");
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let answer = read_answer(&mut reader, !first.starts_with("HEAD"));
        answer.unwrap_or_else(|| panic!("no answer to {request}"))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "")
    }

    /// Everything, as JSON.
    pub fn state(&self) -> Value {
        self.get("/api/state").json()
    }

    /// Follows the events.
    pub fn follow(&self, last_id: Option<&str>) -> Events {
        let mut stream = self.connect();
        let last_id = last_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let host = self.address;
        let request = format!("GET /api/events HTTP/1.1\r\nHost: {host}\r\n{last_id}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader).unwrap();
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.field("content-type"), "text/event-stream");
        assert_eq!(head.field("transfer-encoding"), "chunked");
        Events {
            reader,
            text: String::new(),
        }
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        fs::read_dir(folder).unwrap().count()
    }

    /// Memory in kB that is its own.
    pub fn memory_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()));
        let status = status.unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// Ends it in order; its exit status.
    pub fn end(&mut self) -> Option<i32> {
        Command::new("kill")
            .arg(self.process.id().to_string())
            .status()
            .unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("hirte-dashboard:\n{}", self.log());
        }
    }
}

/// A stream of events.
pub struct Events {
    reader: BufReader<TcpStream>,
    /// What has come and is no whole event.
    text: String,
}

/// One of its events.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

impl Events {
    /// The next event.
    pub fn next(&mut self) -> Event {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                let data = field("data").unwrap();
                let event = Event {
                    name: field("event").unwrap().to_owned(),
                    id: field("id").unwrap_or_default().to_owned(),
                    data: serde_json::from_str(data).unwrap(),
                };
                self.text = rest.to_owned();
                return event;
            }
            let piece = self.piece().expect("the stream goes on");
            self.text.push_str(&piece);
        }
    }

    /// The next event for which this holds.
    pub fn find(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        let begun = Instant::now();
        loop {
            let event = self.next();
            if wanted(&event) {
                return event;
            }
            assert!(begun.elapsed() < 2 * SOON, "in vain: {what}");
        }
    }

    /// The next chunk (RFC 9112, 7.1); nothing when the connection has ended.
    fn piece(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            read => read.expect("something comes"),
        };
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut piece = vec![0; length + 2];
        self.reader.read_exact(&mut piece).ok()?;
        piece.truncate(length);
        Some(String::from_utf8(piece).unwrap())
    }
}

/// Waits for the end of a connection, and returns what came before.
pub fn read_to_end(stream: &mut TcpStream, bound: Duration) -> (String, Duration) {
    let begun = Instant::now();
    stream.set_read_timeout(Some(bound)).unwrap();
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => {}
    }
    (String::from_utf8_lossy(&text).into_owned(), begun.elapsed())
}
