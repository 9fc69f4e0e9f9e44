//! Proves that the lab is what tests take it for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "lab/mod.rs"]
mod lab;

use lab::Lab;

#[test]
fn two_nodes_boot() {
    if !lab::require() {
        return;
    }
    let lab = Lab::new("boot");
    let t = std::time::Instant::now();
    let [laptop, rpi4] = lab.boot(&[("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")]);
    eprintln!("up {:?}", t.elapsed());
    assert_eq!(laptop.ok(&["hostname"]), "laptop");
    assert_eq!(rpi4.systemctl(&["--failed", "--no-legend"]), "");
    eprintln!("{}", laptop.enter_command());
    drop(lab);
    eprintln!("all {:?}", t.elapsed());
}
