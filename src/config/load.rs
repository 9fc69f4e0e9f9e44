//! From the sources to one configuration.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::{ConfigError, Notice, Origin, shorten},
    ini::{self, Item},
    schema::{AgentConfig, Key, ManagerConfig, Schema},
    similar::similar,
};
use crate::limits::{CONFIG_DROP_INS, CONFIG_FILE_BYTES};

/// The folders below which the files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Of the files that packages install.
    pub data: PathBuf,
    /// Of the administrator's files.
    pub etc: PathBuf,
}

impl Default for Roots {
    /// `/usr/share` and `/etc`.
    fn default() -> Self {
        Self {
            data: PathBuf::from("/usr/share"),
            etc: PathBuf::from("/etc"),
        }
    }
}

/// What `hirte`'s command line says, as it was written; the loader checks it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagerOptions {
    /// `-p`, `--port`.
    pub port: Option<String>,
}

/// What `hirte-agent`'s command line says, as it was written; the loader checks it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentOptions {
    /// `-n`, `--name`.
    pub name: Option<String>,
    /// `-H`, `--host`.
    pub host: Option<String>,
    /// `-p`, `--port`.
    pub port: Option<String>,
    /// `-a`, `--address`.
    pub address: Option<String>,
    /// `-i`, `--interval`.
    pub interval: Option<String>,
}

/// A configuration, and what was noticed on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    /// For the log, as warnings, once it is set up.
    pub notices: Vec<Notice>,
}

/// Loads the manager's configuration. `file` is that of `-c`, `env` looks up the environment.
pub fn load_manager(
    roots: &Roots,
    file: Option<&Path>,
    options: &ManagerOptions,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Loaded<ManagerConfig>, ConfigError> {
    let mut loader = Loader::new(ManagerConfig::default());
    loader.load_sources(roots, file, &env)?;
    loader.load_option("--port", "ManagerPort", options.port.as_deref())?;
    Ok(loader.loaded)
}

/// Loads the agent's configuration. `file` is that of `-c`, `env` looks up the environment.
///
/// A host or port on the command line wins over a `ManagerAddress` in a file.
pub fn load_agent(
    roots: &Roots,
    file: Option<&Path>,
    options: &AgentOptions,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Loaded<AgentConfig>, ConfigError> {
    let mut loader = Loader::new(AgentConfig::for_node(""));
    loader.load_sources(roots, file, &env)?;
    if options.host.is_some() || options.port.is_some() {
        loader.loaded.config.manager_address = None;
    }
    loader.load_option("--name", "NodeName", options.name.as_deref())?;
    loader.load_option("--host", "ManagerHost", options.host.as_deref())?;
    loader.load_option("--port", "ManagerPort", options.port.as_deref())?;
    loader.load_option("--address", "ManagerAddress", options.address.as_deref())?;
    loader.load_option(
        "--interval",
        "HeartbeatInterval",
        options.interval.as_deref(),
    )?;
    if loader.loaded.config.node_name.is_empty() {
        let uname = rustix::system::uname();
        let host_name = uname.nodename().to_string_lossy();
        loader.set("NodeName", &host_name, Origin::HostName)?;
    }
    Ok(loader.loaded)
}

/// Environment variables and the keys that they set.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("HIRTE_LOG_LEVEL", "LogLevel"),
    ("HIRTE_LOG_TARGET", "LogTarget"),
    ("HIRTE_LOG_IS_QUIET", "LogIsQuiet"),
];

struct Loader<C> {
    loaded: Loaded<C>,
}

impl<C: Schema> Loader<C> {
    const fn new(defaults: C) -> Self {
        Self {
            loaded: Loaded {
                config: defaults,
                notices: Vec::new(),
            },
        }
    }

    /// Everything but the command line.
    fn load_sources(
        &mut self,
        roots: &Roots,
        file: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        self.load_optional_file(&roots.data.join(C::DATA_FILE))?;
        let etc_file = roots.etc.join(C::ETC_FILE);
        self.load_optional_file(&etc_file)?;
        let mut folder = etc_file.into_os_string();
        folder.push(".d");
        for path in drop_ins(Path::new(&folder))? {
            self.load_optional_file(&path)?;
        }
        for (variable, key) in ENVIRONMENT {
            if let Some(text) = env(variable).filter(|text| !text.is_empty()) {
                self.set(key, text.trim(), Origin::Environment(variable))?;
            }
        }
        file.map_or(Ok(()), |path| {
            let bytes = read_file(path).map_err(|source| read_error(path, source))?;
            self.apply(path, &bytes)
        })
    }

    fn load_optional_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        match read_file(path) {
            Ok(bytes) => self.apply(path, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(read_error(path, error)),
        }
    }

    fn load_option(
        &mut self,
        option: &'static str,
        key: &'static str,
        text: Option<&str>,
    ) -> Result<(), ConfigError> {
        text.map_or(Ok(()), |text| {
            self.set(key, text.trim(), Origin::CommandLine(option))
        })
    }

    /// Applies the text of one file.
    fn apply(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
        let path: Arc<Path> = path.into();
        let mut section = None;
        let mut lists_begun = HashSet::new();
        for item in ini::parse(&path, bytes)? {
            match item {
                Item::Section { name, line } => {
                    if name != C::SECTION {
                        self.notice(&path, line, unknown_section::<C>(&name));
                    }
                    section = Some(name);
                }
                Item::Value { key, value, line } => match section.as_deref() {
                    Some(name) if name == C::SECTION => {
                        self.apply_value(&path, line, &key, &value, &mut lists_begun)?;
                    }
                    Some(_) => {}
                    None => {
                        let text = format!(
                            "{} stands above any section and is ignored, expected [{}] before it",
                            shorten(&key),
                            C::SECTION
                        );
                        self.notice(&path, line, text);
                    }
                },
            }
        }
        Ok(())
    }

    fn apply_value(
        &mut self,
        path: &Arc<Path>,
        line: u32,
        name: &str,
        value: &str,
        lists_begun: &mut HashSet<&'static str>,
    ) -> Result<(), ConfigError> {
        let Some(key) = C::KEYS.iter().find(|key| key.name == name) else {
            self.notice(path, line, unknown_key::<C>(name));
            return Ok(());
        };
        let origin = Origin::File {
            path: Arc::clone(path),
            line,
        };
        // The first occurrence in a file replaces what earlier files said.
        if value.is_empty() || (key.is_list && lists_begun.insert(key.name)) {
            self.set_key(key, key.default, origin.clone())?;
        }
        if value.is_empty() {
            return Ok(());
        }
        self.set_key(key, value, origin)
    }

    fn set(&mut self, name: &'static str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        match C::KEYS.iter().find(|key| key.name == name) {
            Some(key) => self.set_key(key, text, origin),
            None => unreachable!("{name} is not in the table of keys"),
        }
    }

    fn set_key(&mut self, key: &Key<C>, text: &str, origin: Origin) -> Result<(), ConfigError> {
        match (key.set)(&mut self.loaded.config, text) {
            Ok(None) => Ok(()),
            Ok(Some(remark)) => {
                let text = format!("{}: {remark}", key.name);
                self.loaded.notices.push(Notice { origin, text });
                Ok(())
            }
            Err(expected) => Err(ConfigError::Value {
                origin,
                key: key.name,
                value: text.to_owned(),
                expected,
            }),
        }
    }

    fn notice(&mut self, path: &Arc<Path>, line: u32, text: String) {
        let path = Arc::clone(path);
        let origin = Origin::File { path, line };
        self.loaded.notices.push(Notice { origin, text });
    }
}

fn unknown_section<C: Schema>(name: &str) -> String {
    let meant = similar(name, [C::SECTION]).map_or_else(
        || format!("expected [{}]", C::SECTION),
        |section| did_you_mean(&format!("[{section}]")),
    );
    format!("unknown section [{}] is ignored, {meant}", shorten(name))
}

fn unknown_key<C: Schema>(name: &str) -> String {
    let meant = similar(name, C::KEYS.iter().map(|key| key.name))
        .map(|key| format!(", {}", did_you_mean(key)))
        .unwrap_or_default();
    let (section, name) = (C::SECTION, shorten(name));
    format!("unknown key {name} in section [{section}] is ignored{meant}")
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean {word}?")
}

fn read_error(path: &Path, source: io::Error) -> ConfigError {
    let path = path.to_owned();
    ConfigError::Read { path, source }
}

/// Reads a file up to just above the limit, so that the parser sees that it is too large.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(CONFIG_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The drop-in files of a folder, which need not exist, in the order of their names.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read_error(folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|source| read_error(folder, source))?
            .file_name();
        if name.as_bytes().ends_with(b".conf") && !name.as_bytes().starts_with(b".") {
            names.push(name);
        }
        if names.len() > CONFIG_DROP_INS {
            return Err(ConfigError::TooManyDropIns {
                path: folder.to_owned(),
                limit: CONFIG_DROP_INS,
            });
        }
    }
    names.sort();
    Ok(names.iter().map(|name| folder.join(name)).collect())
}
