//! Making the bridge: join the network, routes, resolver, resolv.conf, probes, in this order.
//!
//! Every part looks at what is there and does what is missing, so that a second run changes nothing and a run
//! after a restart of the container, of docker or of the cluster mends what has moved. resolv.conf comes last,
//! when what it names answers already; nothing that fails leaves names broken.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::cluster::Cluster;
use super::container::{Attached, check_net_admin, own_id};
use super::memory::{DefaultRoute, Files, Memory, Place};
use super::probe::{self, Hop, Probes, RESOLVER, Wire};
use super::resolv_conf::{ResolvConf, is_marked};
use super::resolver;
use super::routes;
use crate::error::Help;
use crate::up::command::{Command, Runner};

/// Whom a C library asks where resolv.conf names nobody.
const USUAL_NAMESERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the bridge is to lead to, and from where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The kind cluster.
    pub cluster: String,
    /// The namespace whose services are found by their short names.
    pub namespace: String,
    /// How a person names both to a command of ours.
    pub flags: String,
    /// The docker network of the cluster's nodes.
    pub network: String,
    /// What starts the resolver: this executable.
    pub program: String,
    /// Change routes and names of a plain host.
    pub on_host: bool,
    /// Show the commands and run none that changes anything.
    pub dry_run: bool,
    /// How long probes may be repeated: addresses of new pods take a moment to be known everywhere.
    pub settling: Duration,
}

/// How commands and lines are shown.
pub trait Show: Send + Sync {
    /// A command that is run now, or would be.
    fn command(&self, command: &Command);
    /// What has come about.
    fn line(&self, line: &str);
}

/// The bridge, with all that it acts upon.
pub struct Bridge<'a> {
    pub runner: &'a dyn Runner,
    pub wire: &'a dyn Wire,
    pub show: &'a dyn Show,
    pub place: Place,
    pub settings: Settings,
}

/// Where this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    Container(String),
    Host,
}

impl Here {
    /// What a memory is filed under.
    pub fn id(&self) -> &str {
        match self {
            Here::Container(id) => id,
            Here::Host => "",
        }
    }
}

impl Bridge<'_> {
    /// Makes the bridge, or mends it.
    pub async fn up(&self) -> anyhow::Result<()> {
        let here = self.here()?;
        let id = match &here {
            Here::Container(id) => Some(id.as_str()),
            Here::Host => None,
        };
        check_net_admin(
            self.place.root(),
            id,
            &self.settings.network,
            &self.told("net up"),
        )?;
        let cluster = Cluster::ask(self.runner, &self.settings.cluster).await?;
        let mut memory = self.remembered(here.id())?;
        let nameservers = ResolvConf::parse(&self.resolv_conf()?).nameservers;
        routes::check_clash(&cluster, &self.routes().await?, &nameservers)?;

        if let Some(id) = id {
            self.join(id, &mut memory).await?;
        }
        self.route(&cluster).await?;
        let upstream = self.resolve(&cluster, &mut memory).await?;
        self.act(&probe::apply(&cluster, &self.settings.cluster))
            .await?;
        if self.settings.dry_run {
            return Ok(());
        }
        // Pods that don't start are told of by the probes.
        self.runner
            .run(&probe::wait(&self.settings.cluster))
            .await?;
        self.judge(&self.probes(&cluster, &upstream).run().await?)
    }

    /// Where this is; refused on a plain host, unless it is asked for, or has been when the bridge was made.
    pub fn here(&self) -> anyhow::Result<Here> {
        if self.settings.on_host || self.place.load(Here::Host.id())?.is_some() {
            return Ok(Here::Host);
        }
        own_id(self.place.root())
            .map(Here::Container)
            .ok_or_else(refuse_host)
            .help(host_remedy)
    }

    /// Runs a command that changes something; a dry run only shows it.
    pub async fn act(&self, command: &Command) -> anyhow::Result<()> {
        self.show.command(command);
        if !self.settings.dry_run {
            self.runner.succeed(command).await?;
        }
        Ok(())
    }

    pub fn remember(&self, memory: &Memory) -> anyhow::Result<()> {
        if self.settings.dry_run {
            return Ok(());
        }
        self.place.save(memory)
    }

    pub async fn routes(&self) -> anyhow::Result<Vec<routes::Present>> {
        let output = self.runner.succeed(&routes::show()).await;
        routes::read(
            &output
                .help(|| "the bridge needs iproute2: apt-get install iproute2".into())?
                .stdout,
        )
    }

    /// The file as it is.
    pub fn resolv_conf(&self) -> anyhow::Result<Vec<u8>> {
        let path = self.place.resolv_conf();
        fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))
    }

    /// Writes the file in place: docker mounts it, so it can't be replaced.
    pub async fn write_resolv_conf(&self, content: &[u8]) -> anyhow::Result<()> {
        let path = self.place.resolv_conf().display().to_string();
        self.act(&Command::new("tee").arg(path).stdin(content))
            .await
    }

    /// Only joins the network of the nodes, which may have no cluster yet: what the API server is reached by.
    pub async fn join_only(&self) -> anyhow::Result<()> {
        let Here::Container(id) = self.here()? else {
            return Ok(());
        };
        let mut memory = self.remembered(&id)?;
        self.join(&id, &mut memory).await
    }

    /// What is remembered of the container, or a new memory.
    fn remembered(&self, container: &str) -> anyhow::Result<Memory> {
        let memory = self.place.load(container)?.unwrap_or_default();
        Ok(Memory {
            container: container.to_owned(),
            cluster: self.settings.cluster.clone(),
            ..memory
        })
    }

    /// Puts this container on the network of the nodes, and its default route back to where it was: docker moves
    /// that to the new network, at once and again at every restart of the container.
    async fn join(&self, id: &str, memory: &mut Memory) -> anyhow::Result<()> {
        let network = &self.settings.network;
        let attached = Attached::ask(self.runner, id).await?;
        if attached.is_on_host {
            return Err(refuse_host()).help(host_remedy);
        }
        if attached.networks.contains_key(network) {
            self.show
                .line(&format!("✓ on the docker network {network} (already)"));
        } else {
            memory.default_route = Some(match routes::gateways(&self.routes().await?).first() {
                None => DefaultRoute::None,
                Some(&gateway) => match attached.network_of(gateway) {
                    Some(name) => DefaultRoute::Network(name.to_owned()),
                    None => DefaultRoute::Gateway(gateway),
                },
            });
            memory.had_ipv6_default = !self.ipv6_default().await?.is_empty();
            let now = self.resolv_conf()?;
            memory.resolv_conf = Some(match memory.resolv_conf.take() {
                Some(files) if files.is_by_us(&now) => files,
                _ => Files {
                    before: now,
                    ..Files::default()
                },
            });
            memory.joined = Some(network.clone());
            self.remember(memory)?;
            self.act(&Command::new("docker").args(["network", "connect", network, id]))
                .await?;
            self.show
                .line(&format!("✓ on the docker network {network}"));
            if let (false, Some(files)) = (self.settings.dry_run, &mut memory.resolv_conf) {
                files.joined = self.resolv_conf()?;
                self.remember(memory)?;
            }
        }
        let may = check_net_admin(self.place.root(), Some(id), network, "").is_ok();
        if self.settings.dry_run || memory.joined.is_none() || !may {
            return Ok(());
        }
        if let Some(before) = memory.default_route.clone() {
            let attached = Attached::ask(self.runner, id).await?;
            memory.moved_default |= self.keep_default_route(&attached, &before).await?;
        }
        memory.removed_ipv6_default |= self.drop_ipv6_default(memory).await?;
        self.remember(memory)
    }

    /// Makes the default route what it was before, where it is not.
    pub async fn keep_default_route(
        &self,
        attached: &Attached,
        before: &DefaultRoute,
    ) -> anyhow::Result<bool> {
        let before = match before {
            DefaultRoute::None => None,
            DefaultRoute::Gateway(gateway) => Some(*gateway),
            // A network that it has left since leaves nothing to go back to.
            DefaultRoute::Network(name) => match attached.gateway(name) {
                Some(gateway) => Some(gateway),
                None => return Ok(false),
            },
        };
        let is_other = routes::gateways(&self.routes().await?).first() != before.as_ref();
        if is_other {
            self.act(&routes::set_default(before)).await?;
            self.show.line("✓ the default route as before");
        }
        Ok(is_other)
    }

    /// The network of the nodes has IPv6, and leads nowhere by it: no default route where there was none.
    async fn drop_ipv6_default(&self, memory: &Memory) -> anyhow::Result<bool> {
        let is_new = !memory.had_ipv6_default && !self.ipv6_default().await?.is_empty();
        if is_new {
            self.act(&Command::new("ip").args(["-6", "route", "del", "default"]))
                .await?;
        }
        Ok(is_new)
    }

    /// The default routes of IPv6, as `ip` prints them; none where there is no IPv6.
    async fn ipv6_default(&self) -> anyhow::Result<String> {
        let command = Command::new("ip").args(["-6", "route", "show", "default"]);
        Ok(self.runner.run(&command).await?.text().trim().to_owned())
    }

    async fn route(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let wanted = routes::wanted(cluster);
        let changes = routes::changes(&self.routes().await?, &wanted);
        for command in &changes {
            self.act(command).await.help(|| {
                format!(
                    "is this container on the network of the nodes? docker network connect {} …",
                    self.settings.network
                )
            })?;
        }
        let already = if changes.is_empty() { " (already)" } else { "" };
        self.show.line(&format!(
            "✓ routes to pods on {} nodes and to services{already}",
            cluster.nodes.len()
        ));
        Ok(())
    }

    /// Starts the resolver and names it in resolv.conf. Returns whom it asks for other names.
    async fn resolve(
        &self,
        cluster: &Cluster,
        memory: &mut Memory,
    ) -> anyhow::Result<Vec<SocketAddr>> {
        let now = self.resolv_conf()?;
        let mut files = self.files(memory, &now)?;
        let (joined, before) = (
            ResolvConf::parse(&files.joined),
            ResolvConf::parse(&files.before),
        );
        let args = resolver::Args {
            listen: RESOLVER,
            cluster_dns: (cluster.dns, 53).into(),
            cluster_domain: cluster.domain.clone(),
            cluster_network: vec![cluster.pods, cluster.services],
            upstream: upstream(&joined, &before),
            folder: self.place.folder(),
            detach: true,
        };
        let text = joined.with_cluster(
            RESOLVER.ip(),
            &cluster.domain,
            &self.settings.namespace,
            &self.place.backup(),
        );
        let is_new = self.start_resolver(&args).await?;
        files.ours = text.into_bytes();
        memory.resolv_conf = Some(files.clone());
        self.remember(memory)?;
        let is_changed = now != files.ours;
        if is_changed {
            self.write_resolv_conf(&files.ours).await?;
        }
        let already = if is_new || is_changed {
            ""
        } else {
            " (already)"
        };
        self.show.line(&format!(
            "✓ names: *.{} at {}, all others at {}{already}",
            cluster.domain,
            cluster.dns,
            args.upstream
                .iter()
                .map(|server| server.ip().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        ));
        Ok(args.upstream)
    }

    /// What resolv.conf was and is, given what it holds now.
    fn files(&self, memory: &Memory, now: &[u8]) -> anyhow::Result<Files> {
        match &memory.resolv_conf {
            Some(files) if !files.joined.is_empty() && files.is_by_us(now) => Ok(files.clone()),
            _ if is_marked(now) => refuse_edited(&self.place),
            // Docker writes it anew when we join, and whenever the container starts.
            Some(files) if memory.joined.is_some() => Ok(Files {
                joined: now.to_vec(),
                ..files.clone()
            }),
            _ => Ok(Files {
                before: now.to_vec(),
                joined: now.to_vec(),
                ours: Vec::new(),
            }),
        }
    }

    /// Starts the resolver with these settings, and tells whether it had to.
    async fn start_resolver(&self, args: &resolver::Args) -> anyhow::Result<bool> {
        let running = resolver::running(self.place.root(), &args.folder);
        if running
            .as_ref()
            .is_some_and(|running| running.words == args.words())
        {
            return Ok(false);
        }
        if let Some(running) = running {
            self.stop_resolver(&running).await?;
        }
        let start = Command::new(&self.settings.program)
            .args(args.words())
            .arg("--detach");
        self.act(&start)
            .await
            .context("failed to start the resolver")?;
        Ok(true)
    }

    pub fn probes<'b>(&'b self, cluster: &'b Cluster, upstream: &'b [SocketAddr]) -> Probes<'b> {
        Probes {
            runner: self.runner,
            wire: self.wire,
            cluster,
            name: &self.settings.cluster,
            resolver: RESOLVER,
            upstream,
            settling: self.settings.settling,
            again: self.told("net up"),
        }
    }

    /// A command of ours for the same cluster and namespace, as a person is told to type it.
    pub fn told(&self, command: &str) -> String {
        format!("fireworks {command}{}", self.settings.flags)
    }

    /// Fails with the first hop that does, and tells of every other.
    pub fn judge(&self, hops: &[Hop]) -> anyhow::Result<()> {
        let failed: Vec<_> = hops
            .iter()
            .filter_map(|hop| Some((hop, hop.fault.as_ref()?)))
            .collect();
        let Some((first, fault)) = failed.first() else {
            self.show
                .line(&format!("✓ bytes there and back, {} ways", hops.len()));
            return Ok(());
        };
        for (hop, fault) in &failed[1..] {
            self.show
                .line(&format!("✗ {}: {fault}; {}", hop.what, hop.fix));
        }
        Err(anyhow!("{}: {fault}", first.what)).help(|| first.fix.clone())
    }
}

/// Whom the resolver asks for other names: docker's resolver, which knows containers too, then whoever was asked
/// before it, for the day that this container is taken off the network.
fn upstream(joined: &ResolvConf, before: &ResolvConf) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for &server in joined.nameservers.iter().chain(&before.nameservers) {
        let server = SocketAddr::new(server, 53);
        if server != RESOLVER && !servers.contains(&server) {
            servers.push(server);
        }
    }
    if servers.is_empty() {
        servers.push(SocketAddr::new(USUAL_NAMESERVER, 53));
    }
    servers
}

fn refuse_host() -> anyhow::Error {
    anyhow!(
        "this is no container with a network of its own: the bridge would change the routes and names of the host"
    )
}

fn host_remedy() -> String {
    "run it in a dev container, or, on Linux, if that is what you want: --on-host".into()
}

/// Fails over a resolv.conf that has been edited since we wrote it.
pub fn refuse_edited<T>(place: &Place) -> anyhow::Result<T> {
    let (file, backup) = (place.resolv_conf(), place.backup());
    Err(anyhow!(
        "`{}` has been edited since `net up` wrote it: it is left as it is",
        file.display()
    ))
    .help(|| {
        format!(
            "put it back as it was, then run this again: cat {} >{}",
            backup.display(),
            file.display()
        )
    })
}
