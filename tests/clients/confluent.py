"""The embedded broker through confluent-kafka: transactions, and who may see what of them."""

import sys
import time
import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

kafka = sys.argv[1]
source, target = (f"confluent-{name}-{uuid.uuid4().hex[:8]}" for name in ("source", "target"))
admin = AdminClient({"bootstrap.servers": kafka})
for future in admin.create_topics([NewTopic(source, 2, 1), NewTopic(target, 2, 1)]).values():
    future.result(20)


def read(topic, isolation):
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "none", "isolation.level": isolation, "enable.partition.eof": True, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(2)])
    records, ended, deadline = [], 0, time.monotonic() + 60
    while ended < 2:
        assert time.monotonic() < deadline, f"{topic} has no end"
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended += 1
        else:
            records.append(message.value())
    consumer.close()
    return sorted(records)


plain = Producer({"bootstrap.servers": kafka, "compression.type": "zstd"})
for i in range(1000):
    plain.produce(source, b"%04d" % i, key=b"%d" % i)
plain.flush(20)

transactional = Producer({"bootstrap.servers": kafka, "transactional.id": target})
transactional.init_transactions(20)
consumer = Consumer({"bootstrap.servers": kafka, "group.id": target, "auto.offset.reset": "earliest", "enable.auto.commit": False, "isolation.level": "read_committed"})
consumer.subscribe([source])
done, attempt, deadline = 0, 0, time.monotonic() + 60
while done < 1000:
    assert time.monotonic() < deadline, f"{done} of 1000 processed"
    messages = consumer.consume(100, 0.5)
    if not messages:
        continue
    attempt += 1
    transactional.begin_transaction()
    for message in messages:
        assert not message.error(), message.error()
        transactional.produce(target, message.value(), partition=message.partition())
    transactional.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 20)
    if attempt % 3 == 0:
        transactional.flush(20)
        transactional.abort_transaction(20)
        for partition in consumer.committed(consumer.assignment(), 20):
            consumer.seek(TopicPartition(partition.topic, partition.partition, max(partition.offset, 0)))
    else:
        transactional.commit_transaction(20)
        done += len(messages)
expected = [b"%04d" % i for i in range(1000)]
assert read(target, "read_committed") == expected, "committed records are lost or there twice"
assert len(read(target, "read_uncommitted")) > 1000, "nothing was aborted"
committed = consumer.committed([TopicPartition(source, p) for p in range(2)], 20)
assert sum(p.offset for p in committed) == 1000, committed
consumer.close()

transactional.begin_transaction()
transactional.produce(target, b"open", partition=0)
transactional.flush(20)
assert read(target, "read_committed") == expected, "an open transaction is visible"
successor = Producer({"bootstrap.servers": kafka, "transactional.id": target})
successor.init_transactions(20)
try:
    transactional.commit_transaction(20)
    raise SystemExit("a fenced producer could commit")
except KafkaException as error:
    assert error.args[0].fatal(), error
assert read(target, "read_committed") == expected
