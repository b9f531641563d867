//! What there is of the bridge, on one screen: looked at anew, nothing believed and nothing changed.

use serde::Serialize;

use super::bridge::{Bridge, Here};
use super::cluster::Cluster;
use super::container::Attached;
use super::probe::{RESOLVER, upstream_of};
use super::resolver;
use super::routes;

/// One line of the screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub what: String,
    pub is_ok: bool,
    pub said: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Bridge<'_> {
    /// Looks at everything. An error means that it could not be looked at.
    pub async fn status(&self) -> anyhow::Result<Vec<Row>> {
        let here = self.here()?;
        let mut rows = vec![self.network(&here).await?];
        let cluster = match Cluster::ask(self.runner, &self.settings.cluster).await {
            Ok(cluster) => cluster,
            Err(error) => {
                rows.push(bad("cluster", error.to_string(), self.told("up")));
                rows.push(self.names(&here)?);
                return Ok(rows);
            }
        };
        rows.push(self.route_row(&cluster).await?);
        rows.push(self.names(&here)?);
        if rows.iter().all(|row| row.is_ok) {
            let running = resolver::running(self.place.root(), &self.place.folder());
            let upstream = running.as_ref().map(upstream_of).unwrap_or_default();
            for hop in self.probes(&cluster, &upstream).run().await? {
                rows.push(match hop.fault {
                    None => good("bytes", hop.what),
                    Some(fault) => bad("bytes", format!("{}: {fault}", hop.what), hop.fix),
                });
            }
        }
        Ok(rows)
    }

    fn again(&self) -> String {
        self.told("net up")
    }

    async fn network(&self, here: &Here) -> anyhow::Result<Row> {
        let Here::Container(id) = here else {
            return Ok(good("network", "the host's own".into()));
        };
        let network = &self.settings.network;
        let attached = Attached::ask(self.runner, id).await?;
        Ok(
            match attached
                .networks
                .get(network)
                .map(|endpoint| endpoint.address)
            {
                Some(Some(address)) => good("network", format!("on {network} as {address}")),
                _ => bad("network", format!("not on {network}"), self.again()),
            },
        )
    }

    async fn route_row(&self, cluster: &Cluster) -> anyhow::Result<Row> {
        let wanted = routes::wanted(cluster);
        let present = self.routes().await?;
        let missing = routes::missing(&present, &wanted);
        let said = format!("{} of {}", wanted.len() - missing.len(), wanted.len());
        Ok(match missing.first() {
            None => good("routes", said),
            Some(first) => bad(
                "routes",
                format!("{said}; missing: {} ({})", first.to, first.what),
                self.again(),
            ),
        })
    }

    fn names(&self, here: &Here) -> anyhow::Result<Row> {
        let now = self.resolv_conf()?;
        let memory = self.place.load(here.id())?.unwrap_or_default();
        let is_ours = memory
            .resolv_conf
            .is_some_and(|files| !files.ours.is_empty() && files.ours == now);
        let running = resolver::running(self.place.root(), &self.place.folder());
        Ok(match (is_ours, running) {
            (true, Some(running)) => good(
                "names",
                format!("split at {RESOLVER}, process {}", running.pid),
            ),
            (true, None) => bad(
                "names",
                format!("nobody listens at {RESOLVER}"),
                self.again(),
            ),
            (false, _) => bad(
                "names",
                "resolv.conf is not the bridge's".into(),
                self.again(),
            ),
        })
    }
}

fn good(what: &str, said: String) -> Row {
    Row {
        what: what.into(),
        is_ok: true,
        said,
        fix: None,
    }
}

fn bad(what: &str, said: String, fix: String) -> Row {
    Row {
        what: what.into(),
        is_ok: false,
        said,
        fix: Some(fix),
    }
}

/// The rows as a person reads them.
pub fn screen(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let mark = if row.is_ok { '✓' } else { '✗' };
        let fix = row
            .fix
            .as_ref()
            .map_or(String::new(), |fix| format!("\n            {fix}"));
        format!("{mark} {:<8}  {}{fix}\n", row.what, row.said)
    };
    rows.iter().map(line).collect()
}
