//! `fireworks net resolver`: the process that splits names between the cluster and whoever was asked before.
//!
//! It forwards messages as they are, by the name in the question, and knows nothing else of DNS: no cache, no
//! records, no rewriting. Where the cluster does not answer, its names fail at once and all others go on. What
//! it may hold is bounded, and a query that finds no room is dropped, as UDP would.
//!
//! Written here, in some 200 lines, and not made with the crate for it (hickory-server): that one decodes every
//! message into records and encodes it anew, brings forty crates, and would still need the split on top.
//! dnsmasq does the same as this and would have to be installed in every dev container.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use ipnet::Ipv4Net;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::exchange::{Fault, Transport, ask, read_message, write_message};
use super::message::{Code, question, refusal};
use super::split::{Split, Way};
use crate::error::Help;
use crate::shutdown::Shutdown;

/// How long one server may take. Twice this is less than the five seconds that clients wait for us.
const PATIENCE: Duration = Duration::from_millis(2_400);
/// How long the cluster is not asked again after it gave no answer.
const HOLD_DOWN: Duration = Duration::from_secs(3);
/// How long a TCP client may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// Queries and connections at a time.
const TASKS: usize = 512;
/// The largest query by UDP; they are some hundred bytes.
const LARGEST_QUERY: usize = 4_096;
/// Servers that are asked one after the other.
const TRIES: usize = 2;
/// How long the detached process may take to listen.
const START: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Split names between the cluster and the resolvers from before; `net up` starts it.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to listen, by UDP and TCP
    #[arg(long, value_name = "ADDRESS", env = "FIREWORKS_LISTEN")]
    pub listen: SocketAddr,

    /// The cluster's DNS
    #[arg(long, value_name = "ADDRESS", env = "FIREWORKS_CLUSTER_DNS")]
    pub cluster_dns: SocketAddr,

    /// The domain of the cluster's names
    #[arg(long, value_name = "DOMAIN", env = "FIREWORKS_CLUSTER_DOMAIN")]
    pub cluster_domain: String,

    /// A network whose addresses the cluster's DNS names; may be repeated
    #[arg(
        long,
        value_name = "NETWORK",
        env = "FIREWORKS_CLUSTER_NETWORK",
        value_delimiter = ','
    )]
    pub cluster_network: Vec<Ipv4Net>,

    /// Who is asked for all other names, in this order; may be repeated
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "FIREWORKS_UPSTREAM",
        value_delimiter = ','
    )]
    pub upstream: Vec<SocketAddr>,

    /// The folder for the process id and the log
    #[arg(long, value_name = "FOLDER", env = "FIREWORKS_FOLDER")]
    pub folder: PathBuf,

    /// Go on in the background, and return once it listens
    #[arg(long, env = "FIREWORKS_DETACH")]
    pub detach: bool,
}

impl Args {
    /// The arguments that mean this, without `--detach`.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            "net".into(),
            "resolver".into(),
            format!("--listen={}", self.listen),
            format!("--cluster-dns={}", self.cluster_dns),
            format!("--cluster-domain={}", self.cluster_domain),
        ];
        words.extend(
            self.cluster_network
                .iter()
                .map(|network| format!("--cluster-network={network}")),
        );
        words.extend(
            self.upstream
                .iter()
                .map(|server| format!("--upstream={server}")),
        );
        words.push(format!("--folder={}", self.folder.display()));
        words
    }
}

/// Runs the resolver until it is asked to stop, here or in the background.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    if args.detach {
        return detach(&args).await;
    }
    // Away from the terminal and from the process group of whoever started it.
    if rustix::process::setsid().is_err() {
        tracing::debug!("leads a process group of its own already");
    }
    let listening = async {
        anyhow::Ok((
            UdpSocket::bind(args.listen).await?,
            TcpListener::bind(args.listen).await?,
        ))
    };
    let (udp, tcp) = listening
        .await
        .with_context(|| format!("failed to listen on {}", args.listen))?;
    fs::write(pid_file(&args.folder), std::process::id().to_string())
        .context("failed to write the process id")?;
    tracing::info!(
        "names on {}: cluster {}, others {:?}",
        args.listen,
        args.cluster_dns,
        args.upstream
    );
    Resolver::new(&args).serve(udp, tcp, shutdown).await;
    Ok(())
}

/// A resolver that runs in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub pid: u32,
    /// Its arguments, as [`Args::words`] gives them.
    pub words: Vec<String>,
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("resolver.pid")
}

/// The resolver that runs in the background, if any: a process id alone may be another's by now.
pub fn running(root: &Path, folder: &Path) -> Option<Running> {
    let pid: u32 = fs::read_to_string(pid_file(folder))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let line = fs::read(root.join(format!("proc/{pid}/cmdline"))).ok()?;
    let words: Vec<_> = line
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| !word.is_empty())
        .skip(1)
        .collect();
    let is_ours = words.starts_with(&["net".into(), "resolver".into()]);
    is_ours.then_some(Running { pid, words })
}

async fn detach(args: &Args) -> anyhow::Result<()> {
    fs::create_dir_all(&args.folder)
        .with_context(|| format!("failed to make the folder `{}`", args.folder.display()))?;
    let log_file = args.folder.join("resolver.log");
    let log = fs::File::create(&log_file).context("failed to open the log of the resolver")?;
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(args.words())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("failed to start the resolver")?;
    let deadline = Instant::now() + START;
    loop {
        if let Some(status) = child.try_wait()? {
            let said = fs::read_to_string(&log_file).unwrap_or_default();
            return Err(anyhow!("the resolver ended with {status}: {}", said.trim()))
                .help(|| format!("see who listens there: ss -lnup 'src {}'", args.listen));
        }
        if running(Path::new("/"), &args.folder).is_some_and(|it| it.pid == child.id()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            drop(child.kill());
            bail!("the resolver did not listen within {START:?}");
        }
        sleep(POLL).await;
    }
}

/// Who is asked for what.
#[derive(Debug)]
struct Resolver {
    split: Split,
    cluster: SocketAddr,
    upstream: Vec<SocketAddr>,
    /// Until when the cluster is taken to be gone.
    down_until: Mutex<Option<Instant>>,
}

impl Resolver {
    fn new(args: &Args) -> Resolver {
        Resolver {
            split: Split::new(&args.cluster_domain, args.cluster_network.clone()),
            cluster: args.cluster_dns,
            upstream: args.upstream.clone(),
            down_until: Mutex::new(None),
        }
    }

    async fn serve(self, udp: UdpSocket, tcp: TcpListener, shutdown: Shutdown) {
        let (resolver, udp) = (Arc::new(self), Arc::new(udp));
        let mut tasks = JoinSet::new();
        let mut buffer = [0; LARGEST_QUERY];
        loop {
            let resolver = Arc::clone(&resolver);
            tokio::select! {
                () = shutdown.requested() => break,
                received = udp.recv_from(&mut buffer) => match received {
                    Ok((length, client)) if tasks.len() < TASKS => {
                        let (query, udp) = (buffer[..length].to_vec(), Arc::clone(&udp));
                        tasks.spawn(async move {
                            if let Some(answer) = resolver.answer(&query, Transport::Udp).await {
                                // The client may have gone.
                                drop(udp.send_to(&answer, client).await);
                            }
                        });
                    }
                    Ok(_) => tracing::debug!("a query dropped: there are {TASKS} already"),
                    Err(error) => pause(&error).await,
                },
                accepted = tcp.accept() => match accepted {
                    Ok((stream, _)) if tasks.len() < TASKS => {
                        tasks.spawn(async move { resolver.converse(stream).await });
                    }
                    Ok(_) => tracing::debug!("a connection refused: there are {TASKS} already"),
                    Err(error) => pause(&error).await,
                },
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a query ended in a defect of the resolver");
                },
            }
        }
    }

    /// Answers what comes over a connection until it is idle.
    async fn converse(&self, mut stream: TcpStream) {
        while let Ok(Ok(Some(query))) = timeout(IDLE, read_message(&mut stream)).await {
            let Some(answer) = self.answer(&query, Transport::Tcp).await else {
                return;
            };
            let written = timeout(IDLE, write_message(&mut stream, &answer)).await;
            if !matches!(written, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// The answer to a query; none to what is no DNS at all.
    async fn answer(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question = question(query);
        let way = question
            .as_ref()
            .map_or(Way::Before, |it| self.split.way(&it.name));
        let answered = match way {
            Way::Nowhere => return Some(refusal(query, question.as_ref()?, Code::NoSuchName)),
            Way::Cluster => self.ask_cluster(query, transport).await,
            Way::Before => self.ask_upstream(query, transport).await,
        };
        answered
            .inspect_err(|fault| tracing::debug!(?way, ?question, "no answer: {fault}"))
            .ok()
            .or_else(|| Some(refusal(query, question.as_ref()?, Code::ServerFailure)))
    }

    async fn ask_cluster(&self, query: &[u8], transport: Transport) -> Result<Vec<u8>, Fault> {
        let is_down = |until: Instant| Instant::now() < until;
        if self.down_until.lock().await.is_some_and(is_down) {
            return Err(Fault::NoAnswer);
        }
        let answer = ask(self.cluster, transport, query, PATIENCE).await;
        *self.down_until.lock().await = answer.is_err().then(|| Instant::now() + HOLD_DOWN);
        answer
    }

    async fn ask_upstream(&self, query: &[u8], transport: Transport) -> Result<Vec<u8>, Fault> {
        let mut fault = Fault::NoAnswer;
        for &server in self.upstream.iter().take(TRIES) {
            match ask(server, transport, query, PATIENCE).await {
                Ok(answer) => return Ok(answer),
                Err(error) => fault = error,
            }
        }
        Err(fault)
    }
}

/// Out of descriptors or memory: neither lasts.
async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "failed to receive");
    sleep(POLL).await;
}

#[cfg(test)]
mod tests {
    use super::super::message::{Kind, code, query};
    use super::*;

    /// A DNS server that answers everything with this code, and counts.
    async fn server(code: u8) -> (SocketAddr, Arc<std::sync::atomic::AtomicU32>) {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let answer = move |query: &[u8]| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut answer = refusal(query, &question(query).unwrap(), Code::ServerFailure);
            answer[3] = 0x80 | code;
            answer
        };
        let by_tcp = answer.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
                udp.send_to(&answer(&buffer[..length]), client)
                    .await
                    .unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                while let Ok(Some(query)) = read_message(&mut stream).await {
                    write_message(&mut stream, &by_tcp(&query)).await.unwrap();
                }
            }
        });
        (address, count)
    }

    /// A port that nobody has.
    async fn nobody() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    }

    async fn start(cluster: SocketAddr, upstream: Vec<SocketAddr>) -> SocketAddr {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let listen = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(listen).await.unwrap();
        let args = Args {
            listen,
            cluster_dns: cluster,
            cluster_domain: "cluster.local".into(),
            cluster_network: Vec::new(),
            upstream,
            folder: "/".into(),
            detach: false,
        };
        tokio::spawn(async move {
            let (_trigger, shutdown) = Shutdown::manual();
            Resolver::new(&args).serve(udp, tcp, shutdown).await;
        });
        listen
    }

    async fn code_of(resolver: SocketAddr, transport: Transport, name: &str) -> u8 {
        let query = query(77, name, Kind::A);
        let answer = ask(resolver, transport, &query, Duration::from_secs(20)).await;
        code(&answer.unwrap())
    }

    #[tokio::test]
    async fn names_are_split_by_udp_and_by_tcp() {
        let (cluster, asked_cluster) = server(0).await;
        let (upstream, asked_upstream) = server(3).await;
        let resolver = start(cluster, vec![upstream]).await;
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_eq!(
                code_of(resolver, transport, "kafka.it.svc.cluster.local").await,
                0
            );
            assert_eq!(code_of(resolver, transport, "example.com").await, 3);
            assert_eq!(code_of(resolver, transport, "kafka.it.svc").await, 3);
        }
        let count =
            |it: &std::sync::atomic::AtomicU32| it.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((count(&asked_cluster), count(&asked_upstream)), (2, 2));
    }

    #[tokio::test]
    async fn other_names_resolve_with_the_cluster_gone() {
        let (upstream, _) = server(3).await;
        let resolver = start(nobody().await, vec![upstream]).await;
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_eq!(
                code_of(resolver, transport, "kafka.it.svc.cluster.local").await,
                2
            );
            assert_eq!(code_of(resolver, transport, "example.com").await, 3);
        }
    }

    #[tokio::test]
    async fn cluster_that_does_not_answer_costs_its_wait_once() {
        // Listens and says nothing.
        let mute = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = start(mute.local_addr().unwrap(), Vec::new()).await;
        assert_eq!(
            code_of(resolver, Transport::Udp, "a.cluster.local").await,
            2
        );
        let began = Instant::now();
        assert_eq!(
            code_of(resolver, Transport::Udp, "b.cluster.local").await,
            2
        );
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn next_server_is_asked_where_the_first_is_gone() {
        let (upstream, _) = server(0).await;
        let resolver = start(nobody().await, vec![nobody().await, upstream]).await;
        assert_eq!(code_of(resolver, Transport::Udp, "example.com").await, 0);
        assert_eq!(code_of(resolver, Transport::Tcp, "example.com").await, 0);
    }

    #[tokio::test]
    async fn what_is_no_query_does_no_harm() {
        let (cluster, _) = server(0).await;
        let resolver = start(cluster, Vec::new()).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for junk in [&b""[..], b"x", &[0xff; 11], &[0xff; 600]] {
            socket.send_to(junk, resolver).await.unwrap();
        }
        assert_eq!(
            code_of(resolver, Transport::Udp, "a.cluster.local").await,
            0
        );
    }

    #[test]
    fn another_process_with_that_id_is_not_taken_for_the_resolver() {
        let root = tempfile::tempdir().unwrap();
        let proc = root.path().join("proc/42");
        fs::create_dir_all(&proc).unwrap();
        fs::write(pid_file(root.path()), "42").unwrap();
        fs::write(
            proc.join("cmdline"),
            "fireworks\0net\0resolver\0--listen=x\0",
        )
        .unwrap();
        let found = running(root.path(), root.path()).unwrap();
        assert_eq!(
            (found.pid, found.words.join(" ").as_str()),
            (42, "net resolver --listen=x")
        );
        fs::write(proc.join("cmdline"), "sleep\0infinity\0").unwrap();
        assert_eq!(running(root.path(), root.path()), None);
        fs::write(proc.join("cmdline"), "").unwrap();
        assert_eq!(running(root.path(), root.path()), None);
    }
}
