//! The socket in the file system: whose it is, and that only one manager has it.

use std::{
    fmt,
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use crate::{
    bus::names,
    reactor::Async,
    wire::listen::{self, SocketFile},
};

/// The group whose members may list, read and monitor; the bus policy names it as well.
const GROUP: &str = "hirte";
/// Where groups are listed: group(5), and where systems with a read-only `/usr` keep their own.
const GROUP_FILES: [&str; 2] = ["/etc/group", "/usr/lib/group"];

/// A listening private socket. It is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: Async<UnixListener>,
    is_for_group: bool,
    /// The socket is ours as long as this is there.
    _file: SocketFile,
}

/// Why there is no private socket.
#[derive(Debug)]
pub enum OpenError {
    /// Another manager that runs has it.
    Taken(PathBuf),
    /// The file system or the kernel does not let us.
    Io(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(path) => write!(f, "{}: another manager serves on it", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl Socket {
    /// Listens in `folder`, which is made if it is not there. What an earlier manager left is
    /// replaced.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_for(folder, group_id())
    }

    fn open_for(folder: &Path, group: Option<u32>) -> Result<Self, OpenError> {
        let path = folder.join(names::PRIVATE_SOCKET);
        let mut is_for_group = false;
        let opened = listen::unix(&path, |path| {
            is_for_group = give_to_group(path, group);
            if is_for_group {
                fs::set_permissions(path, Permissions::from_mode(0o660))?;
            }
            Ok(())
        });
        match opened {
            Ok((listener, file)) => Ok(Self {
                listener,
                is_for_group,
                _file: file,
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(OpenError::Taken(path)),
            Err(error) => Err(OpenError::Io(path, error)),
        }
    }

    /// Whether it belongs to group `hirte`, and is open to it.
    #[must_use]
    pub const fn is_for_group(&self) -> bool {
        self.is_for_group
    }

    /// The next connection. An error is about this machine (no descriptors, no memory); it is
    /// returned after `limits::ACCEPT_PAUSE`, so that a caller can report it and just call again.
    pub(super) async fn accept(&self) -> io::Result<Async<UnixStream>> {
        listen::accept_unix(&self.listener).await
    }
}

fn give_to_group(path: &Path, group: Option<u32>) -> bool {
    let given = match group {
        Some(group) => chown(path, None, Some(group)).map_err(|error| error.to_string()),
        None => Err("there is no such group".to_owned()),
    };
    if let Err(problem) = &given {
        log::warn!("The private socket is for root only, not for group {GROUP}: {problem}");
    }
    given.is_ok()
}

fn group_id() -> Option<u32> {
    GROUP_FILES.into_iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        find_group(&text, GROUP)
    })
}

/// The number of a group in the text of group(5).
fn find_group(text: &str, group: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_meant = fields.next() == Some(group);
        let id = fields.nth(1).filter(|_| is_meant)?;
        id.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rustix::process::getegid;
    use smol::LocalExecutor;

    use super::*;
    use crate::reactor::block_on;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("hirte-private-{name}-{}", std::process::id());
            let folder = Self(std::env::temp_dir().join(name));
            let _ = fs::remove_dir_all(&folder.0);
            folder
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_socket_is_for_its_owner_and_the_group() {
        let folder = Folder::new("group");
        block_on(&LocalExecutor::new(), async {
            let own = getegid().as_raw();
            for (group, mode) in [(Some(own), 0o660), (None, 0o600)] {
                let socket = Socket::open_for(&folder.0, group).unwrap();
                assert_eq!(socket.is_for_group(), group.is_some());
                let found = fs::metadata(folder.0.join("private")).unwrap();
                assert_eq!(found.mode() & 0o7777, mode);
                assert_eq!(found.gid(), own);
                let _client = UnixStream::connect(folder.0.join("private")).unwrap();
                socket.accept().await.unwrap();
            }
            assert!(!folder.0.join("private").exists(), "it goes with its owner");
        });
    }

    #[test]
    fn what_a_dead_manager_left_is_replaced_and_a_living_one_is_not() {
        let folder = Folder::new("stale");
        block_on(&LocalExecutor::new(), async {
            fs::create_dir(&folder.0).unwrap();
            drop(UnixListener::bind(folder.0.join("private")).unwrap());
            fs::write(folder.0.join("private.lock"), "").unwrap();
            let socket = Socket::open(&folder.0).unwrap();
            let second = Socket::open(&folder.0).unwrap_err();
            assert!(matches!(second, OpenError::Taken(_)), "{second}");
            UnixStream::connect(folder.0.join("private")).unwrap();
            drop(socket);
            Socket::open(&folder.0).unwrap();
        });
        let nowhere = Socket::open(Path::new("/proc/nowhere")).unwrap_err();
        assert!(matches!(nowhere, OpenError::Io(..)), "{nowhere}");
    }

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let text = "root:x:0:\nxhirte:x:7:\n# hirte:x:1:\nhirte:x:998:alice,bob\nhirtex:x:9:\n";
        assert_eq!(find_group(text, "hirte"), Some(998));
        assert_eq!(find_group(text, "alice"), None);
        assert_eq!(find_group("hirte:x:many:\nhirte\n", "hirte"), None);
    }
}
