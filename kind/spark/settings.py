"""What the user typed, and what follows from it: flags, the device table, properties of Java clients.

Everything is checked here, before Spark or Kafka is asked. The flags are those of `fireworks generate`, with the same
variables; what Spark can't do has no flag, or is refused with the reason.
"""

import argparse
import csv
import os
import re
import sys
from dataclasses import dataclass

LAST_INSTANT = 253_402_300_799_999  # the end of 9999, in milliseconds
MAX_ID_BYTES = 249
MAX_RATE = 1e15

# What a Java producer calls otherwise than librdkafka, whose names `-X` has.
RENAMED = {
    "sasl.mechanisms": "sasl.mechanism",
    "queue.buffering.max.ms": "linger.ms",
    "compression.codec": "compression.type",
    "message.timeout.ms": "delivery.timeout.ms",
}
LOGIN = "org.apache.kafka.common.security.{}LoginModule required username={} password={};"
# What carries a promise, or a flag of ours sets.
OURS = {
    "bootstrap.servers": "use --bootstrap-servers",
    "metadata.broker.list": "use --bootstrap-servers",
    "acks": "no reading may be lost",
    "request.required.acks": "no reading may be lost",
    "enable.idempotence": "it keeps the order of a device's readings",
    "transactional.id": "Spark's sink has no transactions",
    "partitioner": "a device's partition is that of Java clients",
    "partitioner.class": "a device's partition is that of Java clients",
    "partitioner.ignore.keys": "a device's partition is that of Java clients",
    "interceptor.classes": "ours gives records their timestamps",
    "key.serializer": "Spark sets it",
    "value.serializer": "Spark sets it",
}


class Refused(Exception):
    """What was asked for can't be done: a sentence and, in a second line, the remedy."""

    def __init__(self, said, remedy=None):
        super().__init__(said if remedy is None else f"{said}\nhelp: {remedy}")


@dataclass(frozen=True)
class Settings:
    """Validated flags; their meanings are those of `fireworks generate --help`."""

    bootstrap_servers: str
    properties: dict
    topic: str
    partitions: int
    rows_per_batch: int
    interval_ms: int
    advance_ms: int
    start_timestamp: int | None
    batches: int | None
    devices: list
    checkpoint: str
    tasks: int
    listen: tuple | None
    conf: dict

    @property
    def end(self):
        """The row to stop before, if any."""
        return None if self.batches is None else self.batches * self.rows_per_batch


def parse(arguments):
    """The settings; a usage error ends the process with 2."""
    parser = argparse.ArgumentParser(
        prog="generate.py",
        description="The source of Fireworks as a Spark application: rate-micro-batch into a Kafka topic.",
        allow_abbrev=False,
    )
    parser.error = lambda said: fail_usage(said)

    def flag(name, help_, default=None, of=str):
        variable = "FIREWORKS_" + name.replace("-", "_").upper()
        given = os.environ.get(variable)
        default = given if given else default
        parser.add_argument(f"--{name}", default=default, type=of, help=f"{help_} [env: {variable}]")

    flag("bootstrap-servers", "the brokers to start from: HOST:PORT, separated by commas", "127.0.0.1:9092")
    flag("topic", "the topic to write to; it is created where it doesn't exist", "readings")
    flag("partitions", "how many partitions the topic has", "6", whole(1))
    flag("rows-per-batch", "R: rows in a batch", "1", whole(1))
    flag("interval", "time between two batches: 250ms, 1s, 2m; 0s is as fast as it goes", "1s", duration)
    flag("advance-millis-per-batch", "A: event time between two batches, in milliseconds", "1000", whole(0))
    flag("start-timestamp", "S: event time of an empty topic's first batch, in ms since 1970", None,
         whole(0, LAST_INSTANT))
    flag("batches", "stop before batch N, also after a restart", None, whole(0))
    flag("devices", "the device table: a CSV file, or a number of devices", "5")
    flag("seed", "the seed of the noise; Spark SQL's xxhash64 has no other than 42", "42")
    flag("checkpoint", "the folder that keeps where to go on; one for a topic")
    flag("tasks", "tasks that write a batch; each device's readings stay in one", "1", whole(1))
    flag("metrics-listen", "serve /metrics, /healthz and /readyz there: HOST:PORT", None, address)
    parser.add_argument("-X", action="append", metavar="NAME=VALUE",
                        help="a librdkafka property, for the Java clients [env: FIREWORKS_X, one a line]")
    parser.add_argument("--conf", action="append", metavar="NAME=VALUE",
                        help="a property of Spark [env: FIREWORKS_CONF, one a line]")
    typed = parser.parse_args(arguments)
    try:
        return settings(typed)
    except Refused as refused:
        fail_usage(str(refused))


def settings(typed):
    """From what was typed to what is meant."""
    if typed.seed.strip() != "42":
        raise Refused(f"invalid --seed {typed.seed}: Spark SQL's xxhash64 always starts from 42",
                      "fireworks generate takes any seed")
    if not typed.topic:
        raise Refused("invalid --topic: it is empty")
    if not typed.checkpoint:
        raise Refused("--checkpoint is needed", "name a folder that stays: --checkpoint /var/lib/fireworks/readings")
    if not all(one.strip() for one in typed.bootstrap_servers.split(",")):
        raise Refused(f"invalid --bootstrap-servers `{typed.bootstrap_servers}`: an address is empty")
    return Settings(
        bootstrap_servers=typed.bootstrap_servers,
        properties=java_properties(pairs("-X", lines(typed.X, "FIREWORKS_X"))),
        topic=typed.topic,
        partitions=typed.partitions,
        rows_per_batch=typed.rows_per_batch,
        interval_ms=typed.interval,
        advance_ms=typed.advance_millis_per_batch,
        start_timestamp=typed.start_timestamp,
        batches=typed.batches,
        devices=devices(typed.devices),
        checkpoint=typed.checkpoint,
        tasks=typed.tasks,
        listen=typed.metrics_listen,
        conf=pairs("--conf", lines(typed.conf, "FIREWORKS_CONF")),
    )


def devices(table):
    """(id, drift, volatility) of every device: a number of them, or the file that lists them."""
    if table.isascii() and table.isdigit():
        if int(table) == 0:
            raise Refused("invalid --devices 0: at least one device is needed")
        return [(f"sensor-{number}", 0.0, 1.0) for number in range(1, int(table) + 1)]
    try:
        with open(table, encoding="utf-8", newline="") as file:
            return rows(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error, Refused) as error:
        raise Refused(f"failed to read the device table `{table}`: {error}",
                      "it is CSV with the header device_id,drift,volatility and a line for each device, "
                      "such as sensor-1,0,1") from error


def rows(reader):
    """The devices of a table, each checked as `fireworks generate` checks it."""
    header = [cell.strip() for cell in next(reader, [])]
    if header != ["device_id", "drift", "volatility"]:
        raise Refused(f"the header is `{','.join(header)}`")
    found = {}
    for row in reader:
        if not row:
            continue
        try:
            device, drift, volatility = row
            drift, volatility = float(drift.strip() or 0), float(volatility.strip() or 1)
        except ValueError as error:
            raise Refused(f"line {reader.line_num}: {error}") from error
        if not device or len(device.encode()) > MAX_ID_BYTES:
            raise Refused(f"line {reader.line_num}: device_id has not 1 to {MAX_ID_BYTES} bytes")
        if not -MAX_RATE <= drift <= MAX_RATE or not 0 <= volatility <= MAX_RATE:
            raise Refused(f"line {reader.line_num}: drift is not within ±1e15, or volatility not in 0 to 1e15")
        if device in found:
            raise Refused(f"line {reader.line_num}: device `{device}` is there twice")
        found[device] = (device, drift, volatility)
    if not found:
        raise Refused("there is no device in it")
    return list(found.values())


def java_properties(given):
    """Properties of librdkafka as the Java clients have them; what they don't have is left out later, with a warning."""
    for name, reason in OURS.items():
        if name in given:
            raise Refused(f"-X {name} can't be set: {reason}")
    given = {RENAMED.get(name, name): value for name, value in given.items()}
    user, password = given.pop("sasl.username", None), given.pop("sasl.password", None)
    if user is not None:
        module = "scram.Scram" if given.get("sasl.mechanism", "").upper().startswith("SCRAM") else "plain.Plain"
        quoted = ['"' + (text or "").replace("\\", "\\\\").replace('"', '\\"') + '"' for text in (user, password)]
        given["sasl.jaas.config"] = LOGIN.format(module, *quoted)
    authority = given.pop("ssl.ca.location", None)
    if authority:
        given |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": authority}
    chain, key = given.pop("ssl.certificate.location", None), given.pop("ssl.key.location", None)
    if chain and key:
        given |= {"ssl.keystore.type": "PEM", "ssl.keystore.certificate.chain": text_of(chain),
                  "ssl.keystore.key": text_of(key)}
    if given.get("ssl.endpoint.identification.algorithm") == "none":
        given["ssl.endpoint.identification.algorithm"] = ""
    return given


def text_of(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"failed to read `{path}`: {error}") from error


def lines(typed, variable):
    return typed if typed is not None else [one for one in os.environ.get(variable, "").split("\n") if one.strip()]


def pairs(flag, typed):
    found = {}
    for one in typed:
        name, equals, value = one.partition("=")
        if not equals:
            raise Refused(f"invalid {flag} `{one}`: there is no `=` in it")
        found[name.strip()] = value.strip()
    return found


def whole(least, most=2**63 - 1):
    def number(text):
        if not re.fullmatch(r"\d+", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"`{text}` is not a whole number from {least} to {most}")
        return int(text)

    return number


def duration(text):
    """Milliseconds."""
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
    if not re.fullmatch(r"(\d+(ms|s|m|h) ?)+", text + " "):
        raise argparse.ArgumentTypeError(f"`{text}` is not a duration such as 250ms, 1s or 2m")
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h)", text))


def address(text):
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"`{text}` is not HOST:PORT")
    return host.strip("[]"), int(port)


def fail_usage(said):
    print(f"error: {said}", file=sys.stderr)
    sys.exit(2)
