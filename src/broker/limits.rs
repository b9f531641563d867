//! Every bound of the broker in one place: nothing a client sends may grow without end.
//!
//! Where Apache Kafka has a setting for the same thing, its default is taken and its name is given.

use std::time::Duration;

/// Open connections. More are closed at once.
pub const CONNECTIONS: usize = 1000;
/// The longest request that carries records (`socket.request.max.bytes`).
pub const PRODUCE_FRAME_BYTES: usize = 100 * 1024 * 1024;
/// The longest request of every other kind: none of them has a reason to be long.
pub const OTHER_FRAME_BYTES: usize = 2 * 1024 * 1024;
/// Requests up to this length are read without asking; longer ones share [`FRAMES_BYTES`].
pub const SMALL_FRAME_BYTES: usize = 64 * 1024;
/// Longer requests than this come one at a time: more than one batch of the default size for each partition
/// of a busy producer.
pub const USUAL_FRAME_BYTES: usize = 2 * 1024 * 1024;
/// What all requests longer than [`SMALL_FRAME_BYTES`] may hold together (`queued.max.request.bytes`). Room for
/// one of [`PRODUCE_FRAME_BYTES`] is set aside in it.
pub const FRAMES_BYTES: usize = 256 * 1024 * 1024;
/// Array elements in one request, counted before anything is allocated for them.
pub const REQUEST_ELEMENTS: usize = 100_000;

/// The longest answer: the largest batch there can be, and what is said about it.
pub const ANSWER_BYTES: usize = 128 * 1024 * 1024;

/// What all answers that are being written may hold together. Records in them are those of the log, but stay
/// in memory when the log has let them go.
pub const ANSWERS_BYTES: usize = 256 * 1024 * 1024;
/// Below this the memory of answers is scarce: whoever doesn't read gives way.
pub const ANSWERS_SCARCE_BYTES: usize = ANSWERS_BYTES / 16;

/// A connection without a request, or an answer that nobody reads, is closed after this (`connections.max.idle.ms`).
pub const IDLE: Duration = Duration::from_secs(600);
/// A request that has begun must get on within this, and so must an answer while memory is scarce.
pub const STALL: Duration = Duration::from_secs(30);
/// A long request gets [`STALL`] once, and beyond it must come at this rate: a loopback does a thousand times more.
pub const FRAME_BYTES_PER_SECOND: f64 = 1024.0 * 1024.0;

/// The longest a fetch may wait for data, whatever it asks for.
pub const FETCH_WAIT: Duration = Duration::from_secs(60);
/// The most record bytes in one fetch answer (`fetch.max.bytes` of the broker).
pub const FETCH_BYTES: usize = 55 * 1024 * 1024;

/// What one batch may hold once it is decompressed: a small batch must not become a large one.
pub const EXPANDED_BATCH_BYTES: usize = 128 * 1024 * 1024;
/// Batches that are decompressed at the same time.
pub const DECOMPRESSIONS: usize = 2;

/// Partitions of all topics together.
pub const PARTITIONS: usize = 4096;
/// Groups, counting those that hold only offsets: of these the one that committed longest ago goes for a new one.
pub const GROUPS: usize = 4096;
/// Members of one group (`group.max.size`), counting those that have only been given an id.
pub const GROUP_MEMBERS: usize = 1000;
/// Bytes that a member's protocols, or its assignment, may hold.
pub const MEMBER_BYTES: usize = 1024 * 1024;
/// What the members and offsets of all groups may hold together.
pub const GROUPS_BYTES: usize = 64 * 1024 * 1024;
/// Groups whose offsets one transaction may cover: a pipeline has one.
pub const GROUPS_PER_TRANSACTION: usize = 100;
/// The most bytes of metadata beside a committed offset (`offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES: usize = 4096;
/// Transactional ids.
pub const TRANSACTIONAL_IDS: usize = 10_000;
/// Producers remembered in one partition; the one that wrote longest ago is forgotten first.
pub const PRODUCERS: usize = 10_000;
/// The length of a group id, transactional id or client id that is accepted.
pub const ID_BYTES: usize = 1024;

/// The session timeouts that members may ask for (`group.min.session.timeout.ms`, `group.max.…`).
pub const SESSION_TIMEOUT_MS: std::ops::RangeInclusive<i32> = 6_000..=1_800_000;
/// The longest rebalance that is waited for.
pub const REBALANCE_TIMEOUT: Duration = Duration::from_secs(1800);
/// How long a member that waits in its first join is kept without a sign of life.
pub const NEW_MEMBER_JOIN: Duration = Duration::from_secs(300);
/// The longest transaction (`transaction.max.timeout.ms`).
pub const TRANSACTION_TIMEOUT_MS: i32 = 900_000;
/// How long an idle transactional id is remembered (`transactional.id.expiration.ms`).
pub const TRANSACTIONAL_ID_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a producer without a new batch is remembered (`producer.id.expiration.ms`).
pub const PRODUCER_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// How long a record stays that is over its age when it comes: what Kafka's own checks, five minutes
/// apart, may leave it (`log.retention.check.interval.ms`).
pub const SHORTEST_STAY: Duration = Duration::from_secs(300);
/// How often deadlines of members and transactions are looked at. They are seconds long: a late look
/// delays an expiry by at most this, and one timer is simpler than a wheel of them.
pub const TICK: Duration = Duration::from_millis(100);
/// How often retention and compaction are looked at.
pub const SWEEP: Duration = Duration::from_secs(1);
