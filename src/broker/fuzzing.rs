//! Doors for the fuzzers of `fuzz/`, which see the crate from outside: what a hostile client's bytes reach.
//!
//! Only their build has it. It decides nothing: what is wrong shows as a panic, here or behind the door.

use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::Settings;
use super::api::{self, Answer};
use super::batch::codec::Codec;
use super::batch::header::{HEADER_BYTES, Header};
use super::batch::records::Records;
use super::batch::validate::{Admitted, Rules, admit};
use super::clock::Now;
use super::limits;
use super::log::compaction::{Compaction, compact};
use super::log::{Isolation, Log};
use super::state::{Core, Node};
use super::wire::frame;

/// The newest version of Produce that is offered matters for zstd alone.
const PRODUCE_VERSION: i16 = 9;
const NOW: Now = Now {
    elapsed: Duration::from_secs(1),
    unix_ms: 1_767_225_600_000,
};

/// What a client writes to its socket: frames, one after the other, to a broker of its own.
pub fn connection(mut bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let node = Node {
            cluster_id: "cluster".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9092,
        };
        let core = Core::new(&Settings::on_free_port(), node);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        while let Ok(Some(request)) = frame::read(&mut bytes, &core.frames).await {
            // A fetch or a join may wait for others: the client hangs up instead.
            match ready(api::answer(&core, request.bytes.clone(), peer)).await {
                Some(Answer::Close(_)) => break,
                Some(Answer::Reply(_) | Answer::Nothing) | None => {}
            }
        }
        let now = core.clock.now();
        core.state().expire(now);
        core.state().sweep(now);
        core.compact_due().await;
    });
}

/// What a future has to say at once.
async fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}

/// A batch whose length and checksum are right: what is admitted holds the records that it says, and a log
/// takes it, gives it back and compacts it.
pub fn batch(bytes: &[u8]) {
    let Some(header) = Header::read(bytes) else {
        return;
    };
    let sealed = header.seal(&bytes[HEADER_BYTES..]);
    let mut log = Log::default();
    for keys_required in [false, true] {
        let rules = Rules {
            max_message_bytes: 1 << 20,
            keys_required,
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
        };
        let Ok(admitted) = admit(&sealed, &rules, PRODUCE_VERSION, NOW) else {
            continue;
        };
        assert_eq!(records(&admitted), header.record_count);
        if log.append(admitted, NOW).is_ok() {
            let slice = log.read(log.start(), Isolation::ReadUncommitted, usize::MAX, true);
            assert!(!slice.expect("the start can be read").batches.is_empty());
        }
    }
    let settings = Compaction {
        dirty_ratio: 0.0,
        dirty_bytes: 0,
        dirty_age: Duration::ZERO,
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms: 0,
    };
    if let Some(job) = log.compaction(&settings, NOW) {
        log.install(compact(&job), NOW);
    }
}

fn records(admitted: &Admitted) -> i32 {
    let codec = Codec::of(admitted.header.codec_id()).expect("it was admitted");
    let expanded = codec.expand(
        &admitted.bytes[HEADER_BYTES..],
        limits::EXPANDED_BATCH_BYTES,
    );
    let Ok(expanded) = expanded else {
        panic!("what was admitted does not expand");
    };
    let records = Records::new(&expanded, admitted.header.record_count);
    let read = records.filter(Result::is_ok).count();
    i32::try_from(read).expect("the header counts them")
}
