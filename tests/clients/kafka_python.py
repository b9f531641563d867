"""The embedded broker through kafka-python, a client that shares no code with librdkafka."""

import sys
import time
import uuid

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

kafka = sys.argv[1]
topic = f"kafka-python-{uuid.uuid4().hex[:8]}"
deadline = time.monotonic() + 60


def subscribed(**settings):
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=topic, auto_offset_reset="earliest", **settings)
    # Without metadata, this client as the group's leader hands out nothing first and then joins again.
    assert consumer.partitions_for_topic(topic) == {0, 1, 2}
    consumer.subscribe([topic])
    return consumer


def poll(consumer, wanted):
    records = []
    while len(records) < wanted:
        assert time.monotonic() < deadline, f"read {len(records)} of {wanted} records"
        # Long enough for joining: where a poll ends between its SyncGroup and the answer, this client drops the answer.
        for batch in consumer.poll(timeout_ms=10_000).values():
            records += batch
    return records


admin = KafkaAdminClient(bootstrap_servers=kafka)
# Their timestamps are of 2023: by default Apache Kafka would drop them as too old, half a minute after its start.
admin.create_topics([NewTopic(topic, 3, 1, topic_configs={"retention.ms": "-1"})])
assert topic in admin.list_topics()

producer = KafkaProducer(bootstrap_servers=kafka, acks="all", compression_type="gzip", linger_ms=5)
for i in range(300):
    producer.send(topic, key=b"key-%d" % i, value=b"value-%d" % i, headers=[("n", b"%d" % i)], timestamp_ms=1_700_000_000_000 + i)
producer.flush()

consumer = subscribed(enable_auto_commit=False)
records = poll(consumer, 300)
assert {(r.key, r.value) for r in records} == {(b"key-%d" % i, b"value-%d" % i) for i in range(300)}
assert all(r.timestamp == 1_700_000_000_000 + int(dict(r.headers)["n"]) for r in records)
consumer.commit()

partitions = [TopicPartition(topic, p) for p in range(3)]
ends = consumer.end_offsets(partitions)
assert sum(ends.values()) == 300
assert {p: consumer.committed(p) for p in partitions} == ends
found = consumer.offsets_for_times({p: 1_700_000_000_150 for p in partitions})
for partition in partitions:
    first = [r for r in records if r.partition == partition.partition and r.timestamp >= 1_700_000_000_150][0]
    assert found[partition].offset == first.offset, (found[partition], first)
consumer.close()

again = subscribed()
producer.send(topic, key=b"last", value=b"last").get(20)
assert [r.value for r in poll(again, 1)] == [b"last"], "committed offsets were not kept"
again.close()
producer.close()
admin.delete_topics([topic])
while topic in admin.list_topics():
    assert time.monotonic() < deadline, "the topic was not deleted"
    time.sleep(0.05)
admin.close()
