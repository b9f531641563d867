//! The broker's settings: what was typed, checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{anyhow, bail};

use crate::error::Help;

/// What a partition may occupy unless told otherwise.
pub const RETENTION_BYTES: u64 = 64 * 1024 * 1024;
/// Below this a partition could not even hold one batch of the default size limit and its marker.
const RETENTION_BYTES_MIN: u64 = 64 * 1024;

/// Validated settings.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Always a loopback address.
    pub listen: SocketAddr,
    /// The memory that one partition may occupy.
    pub retention_bytes: u64,
}

impl Settings {
    /// Checks what was typed.
    pub fn new(listen: &str, retention_bytes: u64) -> anyhow::Result<Settings> {
        let listen = parse_listen(listen)?;
        if retention_bytes < RETENTION_BYTES_MIN {
            return Err(anyhow!(
                "invalid --retention-bytes {retention_bytes}: a partition needs some room"
            ))
            .help(|| format!("give it at least {RETENTION_BYTES_MIN}"));
        }
        Ok(Settings {
            listen,
            retention_bytes,
        })
    }

    /// A broker on a free port of this machine: for tests.
    pub fn on_free_port() -> Settings {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            retention_bytes: RETENTION_BYTES,
        }
    }
}

fn parse_listen(text: &str) -> anyhow::Result<SocketAddr> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address: SocketAddr = numeric
        .parse()
        .map_err(|_| anyhow!("invalid --listen `{text}`: it is not an address and a port"))
        .help(|| "write it as 127.0.0.1:9092".into())?;
    if !is_loopback(address.ip()) {
        return Err(anyhow!(
            "invalid --listen `{text}`: this broker has no authentication, so it listens on loopback only"
        ))
        .help(|| format!("use 127.0.0.1:{}, or a real Kafka for several machines", address.port()));
    }
    Ok(address)
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Reads a number of bytes: plain, or with KiB, MiB or GiB.
pub fn parse_bytes(text: &str) -> anyhow::Result<u64> {
    let units = [
        ("KiB", 10),
        ("MiB", 20),
        ("GiB", 30),
        ("K", 10),
        ("M", 20),
        ("G", 30),
    ];
    let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, shift) = match unit {
        Some((unit, shift)) => (text.trim_end_matches(unit), *shift),
        None => (text, 0),
    };
    let Ok(number) = digits.trim().parse::<u64>() else {
        bail!("`{text}` is not a number of bytes such as 67108864 or 64MiB");
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| anyhow!("`{text}` is too many bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on() {
        for good in ["127.0.0.1:9092", "localhost:0", "[::1]:9092", "127.1.2.3:1"] {
            Settings::new(good, RETENTION_BYTES).expect(good);
        }
        for bad in [
            "0.0.0.0:9092",
            "[::]:9092",
            "192.168.1.5:9092",
            "10.0.0.1:1",
        ] {
            let error = Settings::new(bad, RETENTION_BYTES).expect_err(bad);
            assert!(error.to_string().contains("loopback only"), "{error}");
        }
        for bad in ["9092", "kafka:9092", "127.0.0.1", "127.0.0.1:99999"] {
            let error = Settings::new(bad, RETENTION_BYTES).expect_err(bad);
            assert!(error.to_string().contains("--listen"), "{error}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        let parsed = |text| parse_bytes(text).ok();
        assert_eq!(parsed("67108864"), Some(RETENTION_BYTES));
        assert_eq!(parsed("64MiB"), Some(RETENTION_BYTES));
        assert_eq!(parsed("1 GiB"), Some(1 << 30));
        assert_eq!(parsed("3K"), Some(3072));
        assert_eq!(parsed("64MB"), None);
        assert_eq!(parsed("-1"), None);
        assert_eq!(parsed("99999999999GiB"), None);
        assert!(Settings::new("127.0.0.1:1", 10).is_err());
    }
}
