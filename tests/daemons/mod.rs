//! The real executables as processes of a test, and plain D-Bus connections to talk to them: what
//! the tests of whole daemons share.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test crate that includes this uses a part of it"
)]

mod connection;
mod manager;
#[path = "../support/tree.rs"]
mod tree;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

pub use connection::{Connection, Refusal, Socket, bus_call, node_call, register};
pub use manager::{Manager, Settings, manager_call};
pub use tree::{install, install_tree, program};

/// For what takes milliseconds on an idle machine: long enough for one that does much else.
pub const SOON: Duration = Duration::from_secs(10);

/// A folder of a test, which goes with this value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hirte-daemons-{}-{number}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until `condition` holds, and returns how long that took.
///
/// # Panics
/// If it does not hold within `bound`; `what` says what was waited for.
pub fn within(bound: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < bound, "waited {bound:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

/// The pieces of a captured conversation, each of one side.
pub fn captured(text: &str) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line == "<" || line == ">" {
            pieces.push(Vec::new());
            continue;
        }
        let bytes = line
            .split(' ')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap());
        pieces.last_mut().unwrap().extend(bytes);
    }
    pieces
}
