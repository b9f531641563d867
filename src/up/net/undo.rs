//! Undoing the bridge: routes, network, resolv.conf, resolver; with the cluster there or gone.
//!
//! Everything that can be undone is, whatever fails before it; the first failure is told at the end, and what is
//! remembered is kept for another try. What somebody else has changed since is left, and said.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use super::bridge::{Bridge, Here, refuse_edited};
use super::container::Attached;
use super::memory::Memory;
use super::probe::{self, RESOLVER};
use super::resolv_conf::ResolvConf;
use super::resolver;
use super::routes;
use crate::up::command::Command;

/// How long the resolver may take to end.
const END: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

impl Bridge<'_> {
    /// Undoes whatever there is of the bridge.
    pub async fn down(&self) -> anyhow::Result<()> {
        let here = self.here()?;
        let memory = self.place.load(here.id())?;
        if let Some(memory) = memory
            .as_ref()
            .filter(|memory| memory.cluster != self.settings.cluster)
        {
            self.show.line(&format!(
                "the bridge leads to `{}`: left as it is",
                memory.cluster
            ));
            return Ok(());
        }
        let has_routes = routes::any_ours(&self.routes().await?);
        if memory.is_none() && !has_routes {
            self.show.line("✓ no bridge (already)");
            return Ok(());
        }
        let mut failures = Failures::default();
        if has_routes {
            failures.note(
                self.act(&routes::flush())
                    .await
                    .map(|()| self.show.line("✓ routes removed")),
            );
        }
        if let Some(memory) = memory {
            self.put_back(&here, &memory, &mut failures).await;
        }
        failures.first()?;
        if self.settings.dry_run {
            return Ok(());
        }
        // Gone with the cluster, where that is gone.
        drop(
            self.runner
                .run(&probe::remove(&self.settings.cluster))
                .await,
        );
        self.place.clear()
    }

    async fn put_back(&self, here: &Here, memory: &Memory, failures: &mut Failures) {
        // Asked before docker writes it anew.
        let is_by_us = self.is_by_us(memory);
        if let (Here::Container(id), Some(network)) = (here, &memory.joined) {
            failures.note(self.leave(id, network, memory).await);
        }
        match (&memory.resolv_conf, is_by_us) {
            (Some(files), Ok(true)) => {
                let written = self.write_resolv_conf(&files.before).await;
                failures.note(written.map(|()| self.show.line("✓ resolv.conf as before")));
            }
            (Some(_), Ok(false)) => {
                // As long as it names our resolver, that has to stay.
                let names_us = self
                    .resolv_conf()
                    .map(|now| ResolvConf::parse(&now).nameservers.contains(&RESOLVER.ip()));
                if names_us.unwrap_or(true) {
                    failures.note(refuse_edited(&self.place));
                    return;
                }
                self.show
                    .line("resolv.conf has been changed by somebody else since: left as it is");
            }
            (_, Err(error)) => failures.note(Err(error)),
            (None, _) => {}
        }
        if let Some(running) = resolver::running(self.place.root(), &self.place.folder()) {
            let stopped = self.stop_resolver(&running).await;
            failures.note(stopped.map(|()| self.show.line("✓ resolver stopped")));
        }
    }

    fn is_by_us(&self, memory: &Memory) -> anyhow::Result<bool> {
        let now = self.resolv_conf()?;
        Ok(memory
            .resolv_conf
            .as_ref()
            .is_some_and(|files| files.is_by_us(&now) || files.before == now))
    }

    /// Leaves the network that we joined. Docker remembers which default route it made, trips over any other
    /// ("file exists", at the next `connect`), and moves it back itself: so it gets back its own first.
    async fn leave(&self, id: &str, network: &str, memory: &Memory) -> anyhow::Result<()> {
        let attached = Attached::ask(self.runner, id).await?;
        let Some(endpoint) = attached.networks.get(network) else {
            return Ok(());
        };
        if memory.moved_default && endpoint.gateway.is_some() {
            self.act(&routes::set_default(endpoint.gateway)).await?;
        }
        if let (true, Some(gateway)) = (memory.removed_ipv6_default, endpoint.ipv6_gateway) {
            let default = [
                "-6",
                "route",
                "replace",
                "default",
                "via",
                &gateway.to_string(),
            ];
            self.act(&Command::new("ip").args(default)).await?;
        }
        self.act(&Command::new("docker").args(["network", "disconnect", network, id]))
            .await?;
        self.show
            .line(&format!("✓ left the docker network {network}"));
        if let (false, Some(before)) = (self.settings.dry_run, &memory.default_route) {
            let attached = Attached::ask(self.runner, id).await?;
            self.keep_default_route(&attached, before).await?;
        }
        Ok(())
    }

    /// Asks the resolver to end, and waits until it has.
    pub async fn stop_resolver(&self, running: &resolver::Running) -> anyhow::Result<()> {
        // A shell has `kill` built in; as a program it is missing in small images.
        self.act(&Command::new("sh").args(["-c", &format!("kill {}", running.pid)]))
            .await?;
        let deadline = Instant::now() + END;
        while !self.settings.dry_run && is_running(self.place.root(), &self.place.folder(), running)
        {
            if Instant::now() > deadline {
                bail!("the resolver, process {}, does not end", running.pid);
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

fn is_running(root: &Path, folder: &Path, running: &resolver::Running) -> bool {
    resolver::running(root, folder).as_ref() == Some(running)
}

/// What failed first; the rest was tried all the same.
#[derive(Default)]
struct Failures(Option<anyhow::Error>);

impl Failures {
    fn note(&mut self, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            self.0.get_or_insert(error);
        }
    }

    fn first(self) -> anyhow::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
