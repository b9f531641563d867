"""The job of `fireworks brownian` as a Quix Streams application: Quix Streams 3.28.1, exactly-once, its state in RocksDB
with a changelog topic.

A device's window is in Quix's state, as the tutorials keep one: read with a reading, and written when it has changed, as
bytes of 52 a reading. Windows kept beside the state would be faster, and nobody would take them away with a partition.
Quix parses and writes JSON with orjson itself.

Tuned: librdkafka's settings are those of our own client, but that more is fetched at once; the state is bytes, the log
is quiet, and Python's collector of cycles runs rarely. See window.py for the rest.
"""

import gc
import tempfile

from quixstreams import Application

from options import options
from window import STORED, Window, millis, restored


def window_of(stored):
    return Window([restored(slot, stored[at:at + STORED.size]) for slot, at in enumerate(range(0, len(stored), STORED.size))])


def steps(reading, state):
    try:
        window = window_of(state.get_bytes("window", b""))
        changed = window.insert(reading)
    except (LookupError, TypeError, ValueError):
        return ()  # Nothing that can be used.
    if changed:
        by_slot = sorted(window.held, key=lambda held: held.slot)
        state.set_bytes("window", b"".join(held.stored() for held in by_slot))
    return [step for _, step in changed]


def main(options, directory):
    app = Application(
        broker_address=options.bootstrap_servers,
        consumer_group=options.group,
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        commit_interval=options.commit_interval_ms / 1000,
        consumer_poll_timeout=min(0.1, options.commit_interval_ms / 1000),
        state_dir=directory,
        loglevel="WARNING",
        consumer_extra_config={
            "session.timeout.ms": 10000,
            "heartbeat.interval.ms": 1000,
            "fetch.queue.backoff.ms": 10,
            "queued.min.messages": 20000,
            "queued.max.messages.kbytes": 16384,
            "fetch.wait.max.ms": 100,
        },
        producer_extra_config={
            # Without a name of its own, nobody ends what a killed predecessor left open before its timeout.
            "transactional.id": options.group + "/quix",
            "transaction.timeout.ms": 10000,
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1000000,
            "queue.buffering.max.kbytes": 524288,
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 20,
        },
    )
    readings = app.topic(options.input, key_deserializer="bytes", value_deserializer="json")
    markov = app.topic(options.output, key_serializer="bytes", value_serializer="json")
    frame = app.dataframe(readings)
    frame = frame.apply(steps, stateful=True, expand=True)
    frame = frame.set_timestamp(lambda step, key, timestamp, headers: millis(step["event_time"]))
    frame.to_topic(markov)
    gc.set_threshold(100_000, 50, 1000)
    app.run()


with tempfile.TemporaryDirectory(prefix="quix-peer-") as directory:
    main(options(), directory)
