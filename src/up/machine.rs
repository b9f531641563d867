//! What this machine has to offer: files of /proc, the port, the disk. It reads and changes nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

/// Numbers of this machine; what it does not tell is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub watches: Option<u64>,
    pub instances: Option<u64>,
    /// Bytes free where the engine keeps its images, or where we keep state if the engine's folder isn't here.
    pub disk: Option<u64>,
    pub has_net_admin: bool,
    /// Whether nobody listens on the dashboard's port.
    pub is_port_free: bool,
    /// Destinations of this machine's routes, as address and prefix length.
    pub routes: Vec<(Ipv4Addr, u32)>,
}

const NET_ADMIN: u32 = 12;

pub fn look(port: u16, disk: &Path) -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str| read(path)?.trim().parse().ok();
    Machine {
        watches: number("/proc/sys/fs/inotify/max_user_watches"),
        instances: number("/proc/sys/fs/inotify/max_user_instances"),
        disk: free(disk),
        has_net_admin: read("/proc/self/status")
            .is_some_and(|status| has_capability(&status, NET_ADMIN)),
        is_port_free: TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok(),
        routes: read("/proc/net/route")
            .map(|table| routes(&table))
            .unwrap_or_default(),
    }
}

/// Bytes that are free in the file system of the nearest folder that exists.
fn free(path: &Path) -> Option<u64> {
    let folder = path.ancestors().find(|folder| folder.exists())?;
    let system = rustix::fs::statvfs(folder).ok()?;
    Some(system.f_bavail * system.f_frsize)
}

fn has_capability(status: &str, capability: u32) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> capability & 1 == 1)
}

/// /proc/net/route: addresses in hexadecimal, as they lie in memory.
fn routes(table: &str) -> Vec<(Ipv4Addr, u32)> {
    let column = |line: &str, at: usize| {
        let word = line.split_whitespace().nth(at)?;
        u32::from_str_radix(word, 16).ok().map(u32::from_be)
    };
    let lines = table.lines().skip(1);
    let entries = lines.filter_map(|line| {
        let (destination, mask) = (column(line, 1)?, column(line, 7)?);
        Some((
            Ipv4Addr::from(if cfg!(target_endian = "big") {
                destination.swap_bytes()
            } else {
                destination
            }),
            mask.count_ones(),
        ))
    });
    entries.filter(|(_, prefix)| *prefix > 0).collect()
}

/// Whether two networks have an address in common.
pub fn overlap(a: (Ipv4Addr, u32), b: (Ipv4Addr, u32)) -> bool {
    let shortest = a.1.min(b.1);
    let mask = u32::MAX.checked_shl(32 - shortest).unwrap_or(0);
    (u32::from(a.0) ^ u32::from(b.0)) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_the_kernel_prints_them() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\n\
                     eth0\t0000600A\t00000000\t0001\t0\t0\t0\t0000FFFF\n";
        assert_eq!(routes(table), [(Ipv4Addr::new(10, 96, 0, 0), 16)]);
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        let net = |a, b, prefix| (Ipv4Addr::new(a, b, 0, 0), prefix);
        assert!(overlap(net(10, 96, 16), net(10, 0, 8)));
        assert!(!overlap(net(10, 96, 16), net(10, 97, 16)));
        assert!(overlap(net(10, 96, 16), net(0, 0, 0)));
    }

    #[test]
    fn capability_is_a_bit_of_the_effective_set() {
        assert!(has_capability(
            "CapPrm:\t0\nCapEff:\t0000000000001000\n",
            NET_ADMIN
        ));
        assert!(!has_capability("CapEff:\t00000000a80425fb\n", 24));
        assert!(!has_capability("nothing", NET_ADMIN));
    }
}
