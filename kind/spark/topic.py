"""The topic: created as `fireworks generate` creates it, and where it ends. By Kafka's own Java client, inside Spark."""

import json

from py4j.protocol import Py4JJavaError
from pyspark.sql import functions as f

from settings import Refused

# What Kafka's Java clients may take for one answer.
DEADLINE = 30
# How many offsets of a partition are looked at first for its last reading; where there is none, more.
FIRST_LOOK = 1000
# Event times may lie anywhere: records are neither refused for them nor dropped by age.
CONFIG = {
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": str(2**30),
}
READING = "device_id STRING, index BIGINT, event_time STRING"


class Topic:
    """A topic on the Kafka that the settings name."""

    def __init__(self, spark, settings):
        self.spark, self.jvm, self.settings = spark, spark._jvm, settings

    def ensure(self):
        """Creates the topic where it doesn't exist; refuses one with another number of partitions."""
        name, wanted = self.settings.topic, self.settings.partitions
        with self.admin() as admin:
            if not self.of(admin.listTopics().names()).contains(name):
                optional = self.jvm.java.util.Optional
                new = self.jvm.org.apache.kafka.clients.admin.NewTopic(name, optional.of(wanted), optional.empty())
                new.configs(self.map(CONFIG))
                results = admin.createTopics(self.jvm.java.util.Collections.singletonList(new))
                try:
                    self.of(results.all())
                except Py4JJavaError as error:
                    # Another process was faster: what it made is what we would have made.
                    if "TopicExistsException" not in error.java_exception.toString():
                        raise
            found = self.partitions(admin)
        if found != wanted:
            raise Refused(f"topic `{name}` has {found} partitions, not {wanted}",
                          f"pass --partitions {found}, or delete topic `{name}`")

    def tail(self):
        """The last row that is committed, with its timestamp in milliseconds; None where there is no reading."""
        start, end = self.offsets("earliest"), self.offsets("latest")
        look = FIRST_LOOK
        while True:
            begin = {number: max(start[number], end[number] - look) for number in end}
            last = self.last_between(begin, end)
            if last or begin == start:
                return last
            look *= 8

    def last_between(self, begin, end):
        if begin == end:
            return None
        topic = self.settings.topic
        options = {f"kafka.{name}": value for name, value in self.settings.properties.items()}
        records = (
            self.spark.read.format("kafka").options(**options)
            .option("kafka.bootstrap.servers", self.settings.bootstrap_servers)
            .option("kafka.isolation.level", "read_committed")
            .option("assign", json.dumps({topic: sorted(end)}))
            .option("startingOffsets", json.dumps({topic: {str(number): at for number, at in begin.items()}}))
            .option("endingOffsets", json.dumps({topic: {str(number): at for number, at in end.items()}}))
            .load()
        )
        reading = f.from_json(f.col("value").cast("string"), READING).alias("reading")
        last = (
            records.select("key", reading).where("reading.index >= 0 AND CAST(key AS STRING) = reading.device_id")
            .select("reading.index", f.unix_millis(f.try_to_timestamp("reading.event_time")).alias("at"))
            .where("at IS NOT NULL").orderBy(f.desc("index")).first()
        )
        return (last["index"], last["at"]) if last else None

    def offsets(self, which):
        """Where each partition starts, or where what is committed in it ends."""
        kafka = self.jvm.org.apache.kafka
        spec = getattr(kafka.clients.admin.OffsetSpec, which)()
        level = kafka.common.IsolationLevel.READ_COMMITTED
        with self.admin() as admin:
            names = {number: kafka.common.TopicPartition(self.settings.topic, number)
                     for number in range(self.settings.partitions)}
            asked = self.map({name: spec for name in names.values()})
            answer = admin.listOffsets(asked, kafka.clients.admin.ListOffsetsOptions(level))
            return {number: self.of(answer.partitionResult(name)).offset() for number, name in names.items()}

    def partitions(self, admin):
        names = self.jvm.java.util.Collections.singletonList(self.settings.topic)
        described = self.of(admin.describeTopics(names).allTopicNames())
        return described.get(self.settings.topic).partitions().size()

    def of(self, future):
        """What a client's answer holds, or why there is none."""
        try:
            return future.get(DEADLINE, self.jvm.java.util.concurrent.TimeUnit.SECONDS)
        except Py4JJavaError as error:
            if "java.util.concurrent.TimeoutException" not in error.java_exception.toString():
                raise
            raise Refused(f"failed to reach Kafka at `{self.settings.bootstrap_servers}`: no answer in {DEADLINE} s",
                          "give its address with --bootstrap-servers, or start one here: fireworks broker") from error

    def admin(self):
        kafka = self.jvm.org.apache.kafka
        known = kafka.clients.admin.AdminClientConfig.configNames()
        properties = {name: value for name, value in self.settings.properties.items() if known.contains(name)}
        properties["bootstrap.servers"] = self.settings.bootstrap_servers
        return Closing(kafka.clients.admin.AdminClient.create(self.map(properties)))

    def map(self, entries):
        found = self.jvm.java.util.HashMap()
        for name, value in entries.items():
            found.put(name, value)
        return found


class Closing:
    """A Java client that is closed in the end."""

    def __init__(self, client):
        self.client = client

    def __enter__(self):
        return self.client

    def __exit__(self, *_):
        self.client.close()
