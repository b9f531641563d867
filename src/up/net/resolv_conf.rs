//! `/etc/resolv.conf`: read, and written anew so that every name is asked for at our resolver.
//!
//! Pure: bytes in, bytes out. What other settings there are is kept.

use std::net::IpAddr;
use std::path::Path;

/// Opens every file of ours.
const MARK: &str = "# Written by `fireworks net up`";

/// What a file says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<String>,
    options: Vec<String>,
    /// Lines with other settings, as they stand.
    rest: Vec<String>,
}

impl ResolvConf {
    pub fn parse(content: &[u8]) -> ResolvConf {
        let mut parsed = ResolvConf::default();
        for line in String::from_utf8_lossy(content).lines() {
            let mut words = line.split_whitespace();
            let Some(keyword) = words.next().filter(|word| !word.starts_with(['#', ';'])) else {
                continue;
            };
            match keyword {
                // An address with a zone (fe80::1%eth0) is the one kind that this leaves out.
                "nameserver" => parsed
                    .nameservers
                    .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
                // The last of them counts, and `domain` is a search list of one.
                "search" | "domain" => parsed.search = words.map(str::to_owned).collect(),
                "options" => parsed.options.extend(words.map(str::to_owned)),
                _ => parsed.rest.push(line.to_owned()),
            }
        }
        parsed
    }

    /// The file that asks `resolver` for every name and completes short ones as a pod in `namespace` does.
    ///
    /// `ndots` stays at its default of 1, where pods have 5: names with a dot are asked for as they are first,
    /// so no name of the internet takes three detours by way of the cluster, or waits for one that is gone.
    /// `service`, `service.namespace` and `service.namespace.svc` are found all the same.
    /// Ours is the only nameserver: some resolvers (musl's) ask all at once and take the quickest "no such name".
    pub fn with_cluster(
        &self,
        resolver: IpAddr,
        domain: &str,
        namespace: &str,
        backup: &Path,
    ) -> String {
        let mut search = vec![
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.to_owned(),
        ];
        let others = self.search.iter().filter(|suffix| *suffix != ".");
        for suffix in others {
            if !search.contains(suffix) {
                search.push(suffix.clone());
            }
        }
        let mut text = format!(
            "{MARK}: the cluster's names go to the cluster, all others where they went before.\n\
             # `fireworks net down` puts the file back; as it was, it stands in {}\n\
             nameserver {resolver}\nsearch {}\n",
            backup.display(),
            search.join(" ")
        );
        let is_kept = |option: &&String| !option.starts_with("ndots:") && *option != "rotate";
        let options: Vec<_> = self.options.iter().filter(is_kept).cloned().collect();
        if !options.is_empty() {
            text += &format!("options {}\n", options.join(" "));
        }
        for line in &self.rest {
            text += &format!("{line}\n");
        }
        text
    }
}

/// Whether a file bears our mark, whoever has edited it since.
pub fn is_marked(content: &[u8]) -> bool {
    content.starts_with(MARK.as_bytes())
}

/// Whether a file is what we wrote, or the beginning of it that a crash left.
pub fn is_ours(content: &[u8], written: &[u8]) -> bool {
    !written.is_empty() && written.starts_with(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(before: &str) -> String {
        ResolvConf::parse(before.as_bytes()).with_cluster(
            "127.0.0.201".parse().unwrap(),
            "cluster.local",
            "etl",
            Path::new("/var/lib/x"),
        )
    }

    #[test]
    fn our_file_asks_our_resolver_and_keeps_every_other_setting() {
        let text = ours(
            "# by hand\nnameserver 10.0.0.2\nnameserver fd00::2\ndomain old\nsearch corp.example example\n\
             options ndots:0 timeout:1\noptions edns0\nsortlist 10.0.0.0\n",
        );
        insta::assert_snapshot!(text, @"
        # Written by `fireworks net up`: the cluster's names go to the cluster, all others where they went before.
        # `fireworks net down` puts the file back; as it was, it stands in /var/lib/x
        nameserver 127.0.0.201
        search etl.svc.cluster.local svc.cluster.local cluster.local corp.example example
        options timeout:1 edns0
        sortlist 10.0.0.0
        ");
    }

    #[test]
    fn nameservers_are_read_as_the_c_library_reads_them() {
        let parsed = ResolvConf::parse(
            b" nameserver\t127.0.0.11 # docker\n;nameserver 1.1.1.1\nnameserver nonsense\nnameserver ::1\n",
        );
        let expected: [IpAddr; 2] = ["127.0.0.11".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(parsed.nameservers, expected);
    }

    #[test]
    fn file_is_ours_whole_or_cut_off_by_a_crash_and_not_when_edited() {
        let text = ours("nameserver 10.0.0.2\n");
        let written = text.as_bytes();
        assert!(is_ours(written, written));
        assert!(is_ours(&written[..40], written));
        assert!(is_ours(b"", written));
        let edited = [written, b"nameserver 1.1.1.1\n"].concat();
        assert!(!is_ours(&edited, written));
        assert!(is_marked(&edited));
        assert!(!is_ours(b"nameserver 10.0.0.2\n", written));
        assert!(!is_ours(b"", b""));
    }
}
