//! The installed introspection files are what the code describes.
//!
//! `HIRTE_UPDATE=1 cargo test --test interfaces` writes them anew.

use std::{fs, path::Path};

use hirte::{agent, bus::interface::Interface, manager::api::interfaces::PUBLIC};

/// The interfaces of both daemons.
fn all() -> impl Iterator<Item = &'static Interface> {
    PUBLIC.into_iter().chain([&agent::api::AGENT])
}

#[test]
fn installed_files_equal_the_description() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dbus/interfaces");
    for interface in all() {
        let file = folder.join(format!("{}.xml", interface.name));
        if std::env::var_os("HIRTE_UPDATE").is_some() {
            fs::write(&file, interface.file()).unwrap();
        }
        let installed = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(installed, interface.file(), "{}", file.display());
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), all().count());
}

#[test]
fn every_member_is_documented() {
    for interface in all() {
        let docs = (interface
            .methods
            .iter()
            .map(|method| (method.name, method.doc)))
        .chain(
            interface
                .signals
                .iter()
                .map(|signal| (signal.name, signal.doc)),
        )
        .chain(
            interface
                .properties
                .iter()
                .map(|property| (property.name, property.doc)),
        );
        for (name, doc) in docs {
            assert!(
                doc.ends_with('.') && !doc.contains("--"),
                "{}.{name}: {doc}",
                interface.name
            );
        }
    }
}
