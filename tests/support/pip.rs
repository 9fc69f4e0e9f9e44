//! Libraries in Python that tests need and Debian does not package.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The interpreter of Debian, for which the requirements are.
pub const PYTHON: &str = "/usr/bin/python3";

/// A folder with what a file of requirements names, each file of it with its hash: for `PYTHONPATH`.
/// It stays for later runs. What can not be had where pip or the package index is missing.
pub fn libraries(requirements: &str) -> Result<PathBuf, String> {
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let folder = folder.join(env!("CARGO_CRATE_NAME"));
    // Written when all is there.
    let installed = folder.join("requirements.txt");
    let text = fs::read(&wanted).map_err(|error| format!("{requirements}: {error}"))?;
    if fs::read(&installed).is_ok_and(|installed| installed == text) {
        return Ok(folder);
    }
    let _ = fs::remove_dir_all(&folder);
    let pip = Command::new(PYTHON)
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--require-hashes", "--disable-pip-version-check"])
        .args(["--only-binary=:all:", "--target"])
        .arg(&folder)
        .arg("--requirement")
        .arg(wanted)
        .output()
        .map_err(|error| error.to_string())?;
    if !pip.status.success() {
        let problem = String::from_utf8_lossy(&pip.stderr);
        return Err(format!(
            "the libraries of {requirements}: {}",
            problem.trim()
        ));
    }
    fs::write(installed, text).map_err(|error| format!("{requirements}: {error}"))?;
    Ok(folder)
}
