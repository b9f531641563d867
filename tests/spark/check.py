"""The Spark application against `fireworks generate`: every record, through a crash and a change of writers; then the
steps that `brownian` makes of both.

Usage: check.py KAFKA FIREWORKS SPARK WORK; SPARK is the folder that kind/spark/prepare made.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import uuid

from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, KafkaError, TopicPartition

kafka, fireworks, spark, work = sys.argv[1], *map(pathlib.Path, sys.argv[2:])
root = pathlib.Path(__file__).resolve().parents[2]
BATCHES, ROWS, PARTITIONS = 60, 3, 6
DEVICES = root / "tests/vectors/devices.csv"
COLUMN = len(DEVICES.read_text().splitlines()) - 1
BATCH = ROWS * COLUMN
FIELDS = ["device_id", "index", "event_time", "magnitude", "direction", "drift", "volatility"]
OPTIONS = [f"--bootstrap-servers={kafka}", f"--rows-per-batch={ROWS}", f"--devices={DEVICES}",
           "--advance-millis-per-batch=250", "--start-timestamp=1700000000000"]
environment = {name: value for name, value in os.environ.items() if not name.startswith("FIREWORKS")}
began = time.monotonic()


def say(text):
    print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)


def run(*command):
    """Our binary; what it logs."""
    done = subprocess.run([fireworks, *command], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


def generate(topic, batches):
    run("generate", f"--topic={topic}", f"--batches={batches}", "--interval=0s", *OPTIONS)


class Driver:
    """The Spark application as a process group: Python, and the Java that it starts."""

    def __init__(self, topic, *flags):
        self.log = open(work / "spark.log", "a")
        command = [spark / "python/bin/python", "-B", root / "kind/spark/generate.py", f"--topic={topic}",
                   f"--checkpoint={work}/checkpoint", f"--conf=spark.driver.extraClassPath={spark}/jars/*",
                   "--conf=spark.ui.enabled=false", *OPTIONS, *flags]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log,
                                        start_new_session=True)

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def status(self):
        return self.process.wait(150)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


def consumer():
    return Consumer({"bootstrap.servers": kafka, "group.id": "none", "isolation.level": "read_committed",
                     "enable.partition.eof": True, "enable.auto.commit": False})


def records(topic):
    """What is committed in each partition."""
    reader = consumer()
    reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    found, ended, deadline = [[] for _ in range(PARTITIONS)], 0, time.monotonic() + 60
    while ended < PARTITIONS:
        assert time.monotonic() < deadline, f"{topic} has no end"
        message = reader.poll(0.2)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended += 1
        else:
            kind, timestamp = message.timestamp()
            assert kind == TIMESTAMP_CREATE_TIME
            found[message.partition()].append((message.key(), timestamp, message.headers(), message.value()))
    reader.close()
    return found


def reading(record):
    """A record of `readings` with its value decoded: the fields in their order, numbers as numbers."""
    key, timestamp, headers, value = record
    fields = json.loads(value, object_pairs_hook=list)
    assert [name for name, _ in fields] == FIELDS, value
    numbers = dict(fields)
    assert type(numbers["index"]) is int and type(numbers["direction"]) is int, value
    return key, timestamp, headers or [], tuple(value for _, value in fields)


def readings(topic):
    """The readings of each partition in their order, without repeats, and how many repeats there were."""
    repeats, found = 0, []
    for partition in records(topic):
        first = {}
        for record in map(reading, partition):
            device, index = record[3][:2]
            if first.setdefault((device, index), record) is not record:
                assert first[device, index] == record, f"a repeat differs: {record}"
                repeats += 1
        found.append(list(first.values()))
    return found, repeats


def written(reader, topic):
    """How many records there are, where nobody writes in transactions."""
    return sum(reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
               for number in range(PARTITIONS))


def until(what, seconds=120):
    """Polls under a deadline."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def batches(folder):
    """The numbers of the batches that Spark has planned (offsets) or committed (commits)."""
    return {int(path.name) for path in work.glob(f"checkpoint/from-*/{folder}/*") if path.name.isdigit()}


def kill_between_write_and_commit(driver, topic):
    """Lets the driver live for a few milliseconds at a time until a batch is in Kafka and not in Spark's commit log."""
    until(lambda: len(batches("commits")) > BATCHES // 3)
    reader, deadline = consumer(), time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline and driver.process.poll() is None, "the driver was never between the two"
        driver.signal(signal.SIGSTOP)
        last = max(batches("offsets"))
        if last not in batches("commits") and written(reader, topic) == (last + 1) * BATCH:
            break
        driver.signal(signal.SIGCONT)
        time.sleep(0.004)
    driver.signal(signal.SIGKILL)
    driver.process.wait()
    reader.close()
    assert last not in batches("commits")
    return last


def compare(topic, other, repeats):
    (found, more), (expected, none) = readings(topic), readings(other)
    assert none == 0 and more == repeats, f"{more} repeats instead of {repeats}"
    for number, (ours, theirs) in enumerate(zip(found, expected)):
        for one, another in zip(ours, theirs):
            assert one == another, f"partition {number}: {one} is not {another}"
        assert len(ours) == len(theirs), f"partition {number}: {len(ours)} records instead of {len(theirs)}"
    say(f"all {sum(map(len, expected))} records are those of generate, on their partitions; {more} are there twice")


def main():
    name = uuid.uuid4().hex[:8]
    topic, expected = f"spark-{name}", f"rust-{name}"
    with Driver(topic, f"--batches={BATCHES}", "--interval=50ms") as driver:
        last = kill_between_write_and_commit(driver, topic)
        say(f"the driver is killed with batch {last} written and not committed")
    with Driver(topic, f"--batches={BATCHES}", "--interval=0s") as driver:
        assert driver.status() == 0, "it failed"
    generate(expected, BATCHES)
    compare(topic, expected, repeats=BATCH)

    generate(topic, BATCHES + 5)
    with Driver(topic, "--interval=100ms") as driver:
        reader = consumer()
        before = written(reader, topic)
        until(lambda: written(reader, topic) >= before + 5 * BATCH)
        reader.close()
        driver.process.send_signal(signal.SIGTERM)
        assert driver.status() == 0, "it did not stop as asked"
    rows = 1 + max(record[3][1] for partition in readings(topic)[0] for record in partition)
    assert rows % ROWS == 0, "it stopped in the middle of a batch"
    generate(expected, rows // ROWS)
    compare(topic, expected, repeats=BATCH)
    say(f"generate took over at batch {BATCHES}, Spark at {BATCHES + 5}")

    for source in (topic, expected):
        log = run("brownian", f"--bootstrap-servers={kafka}", f"--input={source}", f"--output={source}.markov",
                  f"--group={source}", "--until-end", "--workers=1")
        counted = int(re.findall(r"duplicates=(\d+)", log)[-1])
        assert counted == (BATCH if source == topic else 0), log
    steps = [records(f"{source}.markov") for source in (topic, expected)]
    assert steps[0] == steps[1], "the steps differ"
    say(f"brownian counts {BATCH} duplicates and makes the same {sum(map(len, steps[0]))} steps, byte for byte")


try:
    main()
except BaseException:
    log = work / "spark.log"
    print(log.read_text()[-6000:] if log.exists() else "", file=sys.stderr)
    raise
