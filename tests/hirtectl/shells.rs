//! Completion in real shells: bash, zsh and fish complete a line as if somebody had typed it.

use std::path::Path;

use super::*;

/// The folder of the executable, for the search path of shells.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_hirtectl")).parent().unwrap()
}

fn script(name: &str) -> String {
    format!("{}/data/completions/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a shell prints that runs this text, with hirtectl in its search path.
fn shell(bus: &Bus, program: &str, arguments: &[&str]) -> Vec<String> {
    let search = std::env::var("PATH").unwrap();
    let child = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{}:{search}", folder().display()))
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus.0.address())
        .env("TERM", "dumb")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let run = Run::of(&wait(child));
    assert_eq!(run.status, Some(0), "{run:?}");
    run.stdout.lines().map(str::to_owned).collect()
}

/// What bash offers for a line, of which `words` are what bash takes for words.
fn bash(bus: &Bus, words: &[&str]) -> Vec<String> {
    let text = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _hirtectl; \
                [ ${#COMPREPLY[@]} = 0 ] || printf '%s\\n' \"${COMPREPLY[@]}\"";
    let script = script("bash/hirtectl");
    shell(bus, "bash", &[&["-uc", text, &script], words].concat())
}

fn fish(bus: &Bus, line: &str) -> Vec<String> {
    let text = format!(
        "source {}; complete --do-complete '{line}'",
        script("fish/hirtectl.fish")
    );
    let offered = shell(bus, "fish", &["--no-config", "-c", &text]);
    offered
        .iter()
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect()
}

/// What zsh has for a line. It completes only at a terminal; what it would show there is printed.
fn zsh(bus: &Bus, line: &str) -> Vec<String> {
    let function = Path::new(&script("zsh/_hirtectl")).to_owned();
    let folder = function.parent().unwrap().to_str().unwrap().to_owned();
    let capture = format!(
        "fpath=({folder} $fpath)\n\
         _describe() {{ local -a all; all=(\"${{(@P)4}}\"); print -rl -- $all }}\n\
         words=({line}); CURRENT=$#words\n\
         autoload -Uz _hirtectl; _hirtectl || true\n"
    );
    let offered = shell(bus, "zsh", &["-f", "-c", &capture]);
    offered
        .iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.units.push((
        r"dev-disk-by\x2dlabel-a.swap".into(),
        "active".into(),
        "active".into(),
    ));
    fleet
}

#[test]
fn every_shell_completes_commands_options_nodes_and_units() {
    let (bus, _manager) = bus_with(fleet());
    let states = concat!(env!("CARGO_TARGET_TMPDIR"), "/states-to-complete");
    fs::create_dir_all(Path::new(states).join("old")).unwrap();
    for name in ["car.toml", "car.toml.orig"] {
        fs::write(Path::new(states).join(name), "").unwrap();
    }
    for (line, offered) in [
        ("list-u", &["list-unit-files", "list-units"][..]),
        ("start ", &["laptop", "rpi4", "sleeper"]),
        ("start r", &["rpi4"]),
        (
            "start rpi4 --no-block h",
            &["httpd-init.service", "httpd.service"],
        ),
        ("start rpi4 cu", &["cups.service"]),
        ("stop rpi4 httpd.service h", &["httpd-init.service"]),
        ("enable rpi4 h", &["httpd.service"]),
        ("set-default rpi4 ", &["rescue.target"]),
        ("kill --kill-whom ", &["all", "control", "main"]),
        ("list-units --f", &["--filter"]),
        ("is-online ", &["agent", "node", "system"]),
        ("is-online node l", &["laptop"]),
        ("monitor n", &["node-connection"]),
        ("set-loglevel rpi4 D", &["DEBUG"]),
        ("cancel ", &["12", "7"]),
        ("help can", &["cancel"]),
        ("sta", &["start", "state", "status"]),
        ("state ", &["apply", "diff", "presets", "show"]),
        ("help state d", &["diff"]),
        ("state show rpi4 l", &["laptop"]),
        ("state presets --node s", &["sleeper"]),
        ("state apply --r", &["--rollback"]),
        (
            &format!("state diff {states}/c"),
            &[&format!("{states}/car.toml")],
        ),
        (
            &format!("state apply {states}/o"),
            &[&format!("{states}/old/")],
        ),
        (&format!("state diff {states}/car.toml "), &[]),
        ("version ", &[]),
    ] {
        let line = format!("hirtectl {line}");
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if line.ends_with(' ') {
            words.push("");
        }
        assert_eq!(bash(&bus, &words), offered, "bash: {line}");
        assert_eq!(sorted(fish(&bus, &line)), offered, "fish: {line}");
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        assert_eq!(zsh(&bus, &words.join(" ")), offered, "zsh: {line}");
    }
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort_unstable();
    words
}

#[test]
fn what_a_shell_reads_as_more_than_a_word_is_one() {
    let (bus, _manager) = bus_with(fleet());
    let modes = ["ignore-dependencies", "ignore-requirements"];
    let words = ["hirtectl", "start", "--job-mode", "=", "ig"];
    assert_eq!(bash(&bus, &words), modes);
    let words = ["hirtectl", "start", "--job-mode", "="];
    assert_eq!(bash(&bus, &words).len(), 6);
    let whole = modes.map(|mode| format!("--job-mode={mode}"));
    assert_eq!(sorted(fish(&bus, "hirtectl start --job-mode=ig")), whole);
    assert_eq!(zsh(&bus, "hirtectl start --job-mode=ig"), whole);
    // A backslash stays one through the shell's own reading of the line.
    let words = ["hirtectl", "stop", "rpi4", r"dev-disk-by\\x2d"];
    assert_eq!(bash(&bus, &words), [r"dev-disk-by\\x2dlabel-a.swap"]);
}

#[test]
fn without_a_manager_there_are_commands_and_no_complaints() {
    let bus = Bus::start();
    assert_eq!(bash(&bus, &["hirtectl", "can"]), ["cancel"]);
    let run = bus.run(&["__complete", "--", "start", ""]);
    run.expect(DONE, "", "");
    let run = bus.run(&["__complete"]);
    assert_eq!(run.status, Some(DONE));
    assert!(run.stdout.starts_with("cancel\t"), "{run:?}");
    assert!(!bus.run(&["help"]).stdout.contains("__complete"));
}
