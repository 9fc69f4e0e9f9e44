//! From the sources to one configuration.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::{ConfigError, Notice, Origin, shorten},
    ini::{self, Item},
    schema::{Key, NODE_KEYS, Schema},
    settings::{AgentConfig, ManagerConfig, NodeSection},
    similar::similar,
    value::{is_node_name, node_name_rule},
};
use crate::limits::{CONFIG_DROP_INS, CONFIG_FILE_BYTES};

/// The folders below which the files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Of the files that packages install.
    pub data: PathBuf,
    /// Of the administrator's files.
    pub etc: PathBuf,
    /// Of the files that are made anew at each boot.
    pub run: PathBuf,
}

impl Default for Roots {
    /// `/usr/share`, `/etc` and `/run`.
    fn default() -> Self {
        Self {
            data: PathBuf::from("/usr/share"),
            etc: PathBuf::from("/etc"),
            run: PathBuf::from("/run"),
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
    loader.notice_sections_without_effect();
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
    /// The section of each node that has one: its place, and where it was first.
    nodes: BTreeMap<String, (usize, Origin)>,
}

/// The first word of the name of a node's section.
const NODE_SECTION: &str = "node";

/// What a section of a file is about.
enum Section {
    Daemon,
    /// The node with the section at this place.
    Node(usize),
    Unknown,
}

impl<C: Schema> Loader<C> {
    const fn new(defaults: C) -> Self {
        Self {
            loaded: Loaded {
                config: defaults,
                notices: Vec::new(),
            },
            nodes: BTreeMap::new(),
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
        self.load_optional_file(&roots.etc.join(C::ETC_FILE))?;
        for root in [&roots.etc, &roots.run] {
            for path in drop_ins(&root.join(C::ETC_FILE).with_added_extension("d"))? {
                self.load_optional_file(&path)?;
            }
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
                    section = Some(self.enter(&path, line, &name)?);
                }
                Item::Value { key, value, line } => match section {
                    Some(Section::Daemon) => {
                        self.apply_value((&path, line), (&key, &value), &mut lists_begun)?;
                    }
                    Some(Section::Node(place)) => {
                        let value = (key.as_str(), value.as_str());
                        self.apply_node_value((&path, line), place, value, &mut lists_begun)?;
                    }
                    Some(Section::Unknown) => {}
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

    /// Finds out what `[name]` begins.
    fn enter(&mut self, path: &Arc<Path>, line: u32, name: &str) -> Result<Section, ConfigError> {
        if name == C::SECTION {
            return Ok(Section::Daemon);
        }
        let (first, node) = name.split_once(char::is_whitespace).unwrap_or((name, ""));
        let node = node.trim_start();
        let Some(sections) = self
            .loaded
            .config
            .node_sections()
            .filter(|_| first == NODE_SECTION)
        else {
            let text = unknown_section::<C>(&mut self.loaded.config, name);
            self.notice(path, line, text);
            return Ok(Section::Unknown);
        };
        if !is_node_name(node) {
            return Err(ConfigError::Syntax {
                path: path.to_path_buf(),
                line,
                found: format!("[{name}]"),
                expected: format!("[node NAME], where a name has {}", node_name_rule()),
            });
        }
        let origin = || Origin::File {
            path: Arc::clone(path),
            line,
        };
        let (place, _) = self.nodes.entry(node.to_owned()).or_insert_with(|| {
            sections.push(NodeSection {
                name: node.to_owned(),
                ..NodeSection::default()
            });
            (sections.len() - 1, origin())
        });
        Ok(Section::Node(*place))
    }

    fn apply_value(
        &mut self,
        (path, line): (&Arc<Path>, u32),
        (name, value): (&str, &str),
        lists_begun: &mut HashSet<(Option<usize>, &'static str)>,
    ) -> Result<(), ConfigError> {
        let Some(key) = C::KEYS.iter().find(|key| key.name == name) else {
            let text = unknown_key(name, C::SECTION, C::KEYS);
            self.notice(path, line, text);
            return Ok(());
        };
        let begins = key.is_list && lists_begun.insert((None, key.name));
        for text in texts(key, value, begins) {
            let path = Arc::clone(path);
            self.set_key(key, text, Origin::File { path, line })?;
        }
        Ok(())
    }

    fn apply_node_value(
        &mut self,
        (path, line): (&Arc<Path>, u32),
        place: usize,
        (name, value): (&str, &str),
        lists_begun: &mut HashSet<(Option<usize>, &'static str)>,
    ) -> Result<(), ConfigError> {
        let sections = self.loaded.config.node_sections();
        let Some(node) = sections.and_then(|sections| sections.get_mut(place)) else {
            return Ok(());
        };
        let Some(key) = NODE_KEYS.iter().find(|key| key.name == name) else {
            let section = format!("{NODE_SECTION} {}", node.name);
            let text = unknown_key(name, &section, NODE_KEYS);
            self.notice(path, line, text);
            return Ok(());
        };
        let begins = key.is_list && lists_begun.insert((Some(place), key.name));
        for text in texts(key, value, begins) {
            let path = Arc::clone(path);
            let origin = Origin::File { path, line };
            self.loaded.notices.extend(read(key, node, text, origin)?);
        }
        Ok(())
    }

    fn set(&mut self, name: &'static str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        match C::KEYS.iter().find(|key| key.name == name) {
            Some(key) => self.set_key(key, text, origin),
            None => unreachable!("{name} is not in the table of keys"),
        }
    }

    fn set_key(&mut self, key: &Key<C>, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let notice = read(key, &mut self.loaded.config, text, origin)?;
        self.loaded.notices.extend(notice);
        Ok(())
    }

    fn notice(&mut self, path: &Arc<Path>, line: u32, text: String) {
        let path = Arc::clone(path);
        let origin = Origin::File { path, line };
        self.loaded.notices.push(Notice { origin, text });
    }
}

impl Loader<ManagerConfig> {
    /// A node that has a section and may not register is hardly meant so, unless it is said.
    fn notice_sections_without_effect(&mut self) {
        let config = &self.loaded.config;
        let allowed = config.allowed_nodes();
        let allowed: HashSet<&str> = allowed.into_iter().map(|(name, _)| name).collect();
        for node in &config.node_sections {
            let Some((_, origin)) = self.nodes.get(&node.name) else {
                continue;
            };
            let mut notice = |text| {
                let origin = origin.clone();
                self.loaded.notices.push(Notice { origin, text });
            };
            let name = &node.name;
            if !allowed.contains(name.as_str()) && node.allowed.is_none() {
                notice(format!(
                    "section [node {name}] has no effect: the node is not in AllowedNodeNames, \
                     and Allowed is not set"
                ));
            }
            for other in &node.allow_dependencies_on {
                if !allowed.contains(other.as_str()) {
                    notice(format!(
                        "section [node {name}]: AllowDependenciesOn names '{other}', which is no \
                         node of the fleet"
                    ));
                }
            }
        }
    }
}

/// The texts that a key is set to, one after the other: the first occurrence of a list in a file
/// (`begins`) replaces what earlier files said.
fn texts<'a, T>(key: &Key<T>, value: &'a str, begins: bool) -> impl Iterator<Item = &'a str> {
    let default = (value.is_empty() || begins).then_some(key.default);
    default
        .into_iter()
        .chain((!value.is_empty()).then_some(value))
}

/// Reads a text into its place; there may be something to notice about it.
fn read<T>(
    key: &Key<T>,
    place: &mut T,
    text: &str,
    origin: Origin,
) -> Result<Option<Notice>, ConfigError> {
    match (key.set)(place, text) {
        Ok(remark) => Ok(remark.map(|remark| {
            let text = format!("{}: {remark}", key.name);
            Notice { origin, text }
        })),
        Err(expected) => Err(ConfigError::Value {
            origin,
            key: key.name,
            value: text.to_owned(),
            expected,
        }),
    }
}

fn unknown_section<C: Schema>(config: &mut C, name: &str) -> String {
    let has_nodes = config.node_sections().is_some();
    let words = [NODE_SECTION].into_iter().filter(|_| has_nodes);
    let (first, node) = name.split_once(char::is_whitespace).unwrap_or((name, ""));
    let meant = if let Some(section) = similar(name, [C::SECTION]) {
        did_you_mean(&format!("[{section}]"))
    } else if has_nodes && is_node_name(node.trim()) && similar(first, words).is_some() {
        did_you_mean(&format!("[{NODE_SECTION} {}]", node.trim()))
    } else if has_nodes {
        format!("expected [{}] or [{NODE_SECTION} NAME]", C::SECTION)
    } else {
        format!("expected [{}]", C::SECTION)
    };
    format!("unknown section [{}] is ignored, {meant}", shorten(name))
}

fn unknown_key<T>(name: &str, section: &str, keys: &[Key<T>]) -> String {
    let meant = similar(name, keys.iter().map(|key| key.name))
        .map(|key| format!(", {}", did_you_mean(key)))
        .unwrap_or_default();
    let name = shorten(name);
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
