"""The job of `fireworks brownian` in Python: confluent-kafka 2.16.1, its librdkafka 2.16.0, and orjson 3.13.0.

One loop that consumes in batches, and a transaction a commit interval with the steps, the state and the offsets. The
state is on OUTPUT.state, compacted: one record of 52 bytes a reading held, under the device id and a slot, written once
a transaction however often the reading changed. An error ends the program, and a new start goes on from what was
committed.

Tuned: librdkafka's settings are those of our own client, but that more is fetched at once; records are taken by the
thousand, `produce` is called without keywords (0.3 µs, not 0.8) and reports no deliveries, and Python's collector of
cycles is off, for there are none. See window.py for the rest.
"""

import gc
import signal
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from orjson import JSONDecodeError, dumps, loads

from options import options
from window import CAPACITY, Window, restored

BATCH = 1000
SLOTS = [bytes([slot]) for slot in range(CAPACITY)]


class Job:
    def __init__(self, options):
        self.options = options
        self.state = options.output + ".state"
        self.windows = {}  # by key, by partition
        self.changed = {}  # what the state lacks, by its key
        self.offsets = {}  # that come next, by partition
        self.begun = None
        self.stopping = False
        self.producer = Producer({
            "bootstrap.servers": options.bootstrap_servers,
            "transactional.id": options.group + "/confluent",
            "transaction.timeout.ms": 10000,
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1000000,
            "queue.buffering.max.kbytes": 524288,
            "delivery.report.only.error": True,
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 20,
        })
        self.producer.init_transactions(30)
        self.consumer = Consumer(self.reading("earliest"))
        self.consumer.subscribe([options.input], on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.lost)

    def reading(self, reset):
        return {
            "bootstrap.servers": self.options.bootstrap_servers,
            "group.id": self.options.group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": reset,
            "session.timeout.ms": 10000,
            "heartbeat.interval.ms": 1000,
            "fetch.queue.backoff.ms": 10,
            "queued.min.messages": 20000,
            "queued.max.messages.kbytes": 16384,
            "fetch.wait.max.ms": 100,
        }

    def assigned(self, _, partitions):
        """Restores the windows before the first reading comes."""
        reader = Consumer(self.reading("error") | {"enable.partition.eof": True})
        reader.assign([TopicPartition(self.state, one.partition, OFFSET_BEGINNING) for one in partitions])
        held = {one.partition: {} for one in partitions}
        left = len(partitions)
        while left:
            for message in reader.consume(BATCH, 1):
                if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
                    left -= 1
                elif message.error():
                    raise KafkaException(message.error())
                else:
                    held[message.partition()][message.key()] = message.value()
        reader.close()
        for partition, values in held.items():
            devices = {}
            for key, value in values.items():
                devices.setdefault(key[:-1], []).append(restored(key[-1], value))
            self.windows[partition] = {key: Window(all) for key, all in devices.items()}

    def revoked(self, _, partitions):
        self.commit()
        self.lost(_, partitions)

    def lost(self, _, partitions):
        if self.begun is not None:
            raise SystemExit("confluent: partitions were lost with a transaction open")
        for one in partitions:
            self.windows.pop(one.partition, None)

    def run(self):
        interval = self.options.commit_interval_ms / 1000
        while not self.stopping:
            # It waits until it has as many as it is asked for.
            if self.begun is None:
                messages = self.consumer.consume(1, 0.1)
            else:
                messages = self.consumer.consume(BATCH, max(0.0, self.begun + interval - time.monotonic()))
            if messages:
                self.process(messages)
            if self.begun is not None and time.monotonic() - self.begun >= interval:
                self.commit()
        self.commit()
        self.consumer.close()

    def process(self, messages):
        if self.begun is None:
            self.producer.begin_transaction()
            self.begun = time.monotonic()
        output, windows, changed, offsets = self.options.output, self.windows, self.changed, self.offsets
        produce = self.producer.produce
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            partition = message.partition()
            offsets[partition] = message.offset() + 1
            devices = windows[partition]
            key = message.key()
            try:
                reading = loads(message.value())
                window = devices.get(key)
                if window is None:
                    window = devices[key] = Window()
                steps = window.insert(reading)
            except (JSONDecodeError, LookupError, TypeError, ValueError):
                continue  # Nothing that can be used.
            for held, step in steps:
                produce(output, dumps(step), key, partition, None, None, held.time or 1)
                changed[key + SLOTS[held.slot]] = partition, held
        # A reading may bring a hundred steps: leave room for those of the next batch.
        while len(self.producer) > 500_000:
            self.producer.poll(0.01)

    def commit(self):
        if self.begun is None:
            return
        state, produce = self.state, self.producer.produce
        for key, (partition, held) in self.changed.items():
            produce(state, held.stored(), key, partition)
        offsets = [TopicPartition(self.options.input, *item) for item in self.offsets.items()]
        self.producer.send_offsets_to_transaction(offsets, self.consumer.consumer_group_metadata(), 30)
        self.producer.commit_transaction(30)
        self.changed.clear()
        self.offsets.clear()
        self.begun = None

    def stop(self, *_):
        self.stopping = True


def main():
    gc.disable()
    job = Job(options())
    signal.signal(signal.SIGTERM, job.stop)
    signal.signal(signal.SIGINT, job.stop)
    job.run()


main()
