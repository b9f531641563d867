//! `broker` beside Apache Kafka, with librdkafka's own measuring program as the client of both.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::{PERFORMANCE, performance};
use crate::Scope;
use crate::kafka::{Kafka, PARTITIONS};
use crate::report::{Part, Row, Target, median, median_of};
use crate::support::unique;

const BYTES: &str = "190";
/// How often it is all read: once takes a broker a few of the kernel's ticks of 10 ms.
const READS: usize = 5;
/// How much of Apache Kafka's processor time it may take.
const SHARE: f64 = 0.3;

/// What a broker does with the messages of a run, written and then read.
#[derive(Debug)]
struct Cost {
    /// Messages in a second, by the client's own count.
    produced: f64,
    consumed: f64,
    /// Its processor time for a message, in microseconds.
    producing: f64,
    consuming: f64,
    /// The consumer's processor time for a message, in microseconds.
    client: f64,
}

fn run(kafka: &Kafka, messages: usize) -> Cost {
    let topic = unique("broker");
    kafka.create(&topic);
    let used =
        |before: Duration| (kafka.processor_time() - before).as_secs_f64() * 1e6 / messages as f64;
    let before = kafka.processor_time();
    let flags = ["-P", "-s", BYTES, "-a", "-1", "-z", "none"];
    let settings = ["linger.ms=5", "queue.buffering.max.messages=500000"];
    let (_, produced) = performance(kafka, &topic, messages, &flags, &settings);
    let producing = used(before);

    let before = kafka.processor_time();
    let partitions: Vec<_> = (0..PARTITIONS).map(|p| p.to_string()).collect();
    let mut flags = vec!["-C", "-o", "beginning"];
    for partition in &partitions {
        flags.extend(["-p", partition]);
    }
    let settings = ["fetch.queue.backoff.ms=10", "queued.min.messages=1000000"];
    let read = || performance(kafka, &topic, messages, &flags, &settings);
    let (by_client, rates): (Vec<_>, Vec<_>) = (0..READS).map(|_| read()).unzip();
    let consumed = median(&rates);
    let consuming = used(before) / READS as f64;
    let by_client: Duration = by_client.iter().sum();
    let client = by_client.as_secs_f64() * 1e6 / (READS * messages) as f64;
    kafka.delete(&[&topic]);
    Cost {
        produced,
        consumed,
        producing,
        consuming,
        client,
    }
}

/// The processor time, in microseconds a message, of writing the bytes of so many to a socket, from memory that holds
/// all of them, and of reading them from there, into memory that is kept or not, and nothing else.
fn moving_alone(messages: usize, is_kept: bool) -> [f64; 2] {
    const CHUNK: usize = 1 << 20;
    let held = vec![1; messages * BYTES.parse::<usize>().unwrap()];
    let per_message = |used: Duration| used.as_secs_f64() * 1e6 / messages as f64;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut out = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (incoming, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let before = thread_processor_time();
        let (mut kept, mut chunk) = (Vec::new(), Vec::with_capacity(CHUNK));
        loop {
            let part = (&incoming).take(CHUNK as u64).read_to_end(&mut chunk);
            if part.unwrap() == 0 {
                return thread_processor_time() - before;
            }
            if is_kept {
                kept.push(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)));
            } else {
                chunk.clear();
            }
        }
    });
    let before = thread_processor_time();
    for chunk in held.chunks(CHUNK) {
        out.write_all(chunk).unwrap();
    }
    let writing = thread_processor_time() - before;
    drop(out);
    [writing, reader.join().unwrap()].map(per_message)
}

/// What this thread has used.
fn thread_processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

pub fn measure(scope: &Scope) -> Part {
    let messages = scope.messages * 2 / 3;
    let (apache, embedded) = (Kafka::apache(), Kafka::embedded("1GiB"));
    // Its code is compiled when it has run for a while.
    run(&apache, messages);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..scope.runs {
        ours.push(run(&embedded, messages));
        theirs.push(run(&apache, messages));
        println!(
            "{:.1?}\n{:.1?}",
            ours[ours.len() - 1],
            theirs[theirs.len() - 1]
        );
    }
    let apache_consuming = median_of(&theirs, |cost| cost.consuming);
    let apache_producing = median_of(&theirs, |cost| cost.producing);
    let ([writing, _], [_, reading]) =
        (moving_alone(messages, false), moving_alone(messages, true));
    let copying = format!(
        "writing the bytes to a socket, from memory that holds all of them, takes {writing:.3} µs a message alone, {:.2} of what\n\
         Apache Kafka needs for all of it, where {SHARE:.2} are asked for: it has them in the page cache, from where the kernel hands\n\
         them on without a copy.",
        writing / apache_consuming
    );
    let keeping = format!(
        "reading the bytes from a socket into memory that is kept takes {reading:.3} µs a message alone, {:.2} of what Apache\n\
         Kafka needs for all of it: the page cache that it writes to has its pages already, from topics that were deleted.",
        reading / apache_producing
    );
    let client_bound = format!(
        "the client is the slower side: it takes {:.2} µs of processor time a message, the embedded broker {:.3} and Apache Kafka {:.3}.",
        median_of(&ours, |cost| cost.client),
        median_of(&ours, |cost| cost.consuming),
        apache_consuming
    );
    let row = |what: &str, unit: &str, figure: fn(&Cost) -> f64, target| {
        let figures = |costs: &[Cost]| costs.iter().map(figure).collect();
        Row::new(
            what,
            unit,
            figures(&ours),
            "Apache Kafka",
            figures(&theirs),
            target,
        )
    };
    let (rate, cost) = ("messages a second", "µs of processor time a message");
    let mib = |kafka: &Kafka| vec![(kafka.peak_memory() >> 20) as f64];
    let rows = vec![
        row(
            "a producer's rate",
            rate,
            |cost| cost.produced,
            Target::AtLeast(1.0),
        ),
        row(
            "a consumer's rate",
            rate,
            |cost| cost.consumed,
            Target::AtLeast(1.0),
        )
        .or_because(&client_bound),
        row(
            "producing, in the broker",
            cost,
            |cost| cost.producing,
            Target::AtMost(SHARE),
        )
        .or_because(&keeping),
        row(
            "consuming, in the broker",
            cost,
            |cost| cost.consuming,
            Target::AtMost(SHARE),
        )
        .or_because(&copying),
        Row::new(
            "the most memory",
            "MiB",
            mib(&embedded),
            "Apache Kafka",
            mib(&apache),
            Target::Any,
        ),
    ];
    let about = format!(
        "{messages} messages of {BYTES} bytes, not compressed, to {PARTITIONS} partitions with acknowledgement by all, and read again {READS} times,\n\
         by {PERFORMANCE}. The embedded broker keeps them in memory; Apache Kafka in the page cache, which is not in its\n\
         memory here."
    );
    Part::new("The embedded broker", &about, rows)
}
