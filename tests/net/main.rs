//! `fireworks net` on real routes, sockets and a real resolv.conf, in namespaces that this test makes: it touches
//! nothing of this machine and needs root for that, without which it says that it is skipped, or fails where
//! `FIREWORKS_TEST_NET=required`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};

/// Namespaces of its own: network, mounts, and processes, which all end with the first.
const NAMESPACES: &[&str] = &[
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
];

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test is to be seen")]
fn bridge_bears_and_is_undone_to_the_byte() {
    let may = Command::new("unshare")
        .args(NAMESPACES)
        .args(["sh", "-c", "ip link set lo up && python3 -c ''"])
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        let is_required = std::env::var("FIREWORKS_TEST_NET").is_ok_and(|word| word == "required");
        assert!(
            !is_required,
            "FIREWORKS_TEST_NET=required, and there is no root, unshare, iproute2 or python3"
        );
        eprintln!(
            "SKIPPED bridge_bears_and_is_undone_to_the_byte: it needs root, unshare, iproute2 and python3"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(NAMESPACES)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/net/world"))
        .arg(env!("CARGO_BIN_EXE_fireworks"))
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.ends_with("all is well\n"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
