// The embedded broker through Apache Kafka's own client: topics, configurations, an idempotent and a
// transactional producer, a cooperative group, offsets in transactions, fencing.

import java.time.Duration;
import java.util.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

public class Check {
    static String kafka;
    static final long DEADLINE = System.nanoTime() + Duration.ofSeconds(150).toNanos();

    static void check(boolean holds, Object what) {
        if (!holds) throw new AssertionError(what);
    }

    static Map<String, Object> with(Object... settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", kafka));
        for (int i = 0; i < settings.length; i += 2) all.put((String) settings[i], settings[i + 1]);
        return all;
    }

    static KafkaProducer<String, String> producer(Object... settings) {
        return new KafkaProducer<>(with(settings), new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(String group, Object... settings) {
        Map<String, Object> all = with(settings);
        all.putAll(Map.of("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", "false", "isolation.level", "read_committed"));
        return new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
    }

    static List<String> read(String topic) {
        try (var consumer = consumer("reader-" + UUID.randomUUID())) {
            var partitions = consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            List<String> values = new ArrayList<>();
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                check(System.nanoTime() < DEADLINE, "no end of " + topic);
                consumer.poll(Duration.ofMillis(100)).forEach(r -> values.add(r.value()));
            }
            return values.stream().sorted().toList();
        }
    }

    public static void main(String[] args) throws Exception {
        kafka = args[0];
        String run = UUID.randomUUID().toString().substring(0, 8), source = "java-source-" + run, target = "java-target-" + run;
        try (var admin = Admin.create(with())) {
            admin.createTopics(List.of(new NewTopic(source, 6, (short) 1), new NewTopic(target, 6, (short) 1)
                .configs(Map.of("cleanup.policy", "compact", "message.timestamp.after.max.ms", "" + Long.MAX_VALUE)))).all().get();
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, target);
            var config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            check(config.get("cleanup.policy").value().equals("compact"), config);
            try {
                admin.createTopics(List.of(new NewTopic(source, 6, (short) 1))).all().get();
                check(false, "a topic was created twice");
            } catch (java.util.concurrent.ExecutionException error) {
                check(error.getCause() instanceof TopicExistsException, error);
            }
            produce(source);
            transform(admin, source, target);
            fence(target);
            admin.deleteTopics(List.of(source, target)).all().get();
        }
    }

    static void produce(String source) throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            try (var producer = producer("compression.type", codec, "linger.ms", "5")) {
                List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
                for (int i = 0; i < 200; i++) sent.add(producer.send(new ProducerRecord<>(source, "key-" + i, codec + "-" + i)));
                for (var future : sent) future.get();
            }
        }
        check(read(source).size() == 1000, "records of five codecs");
    }

    /** Two members share the partitions; each moves its offsets in its transactions, and some are aborted. */
    static void transform(Admin admin, String source, String target) throws Exception {
        String group = target;
        Object[] cooperative = {"partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor", "max.poll.records", "50"};
        try (var first = consumer(group, cooperative); var second = consumer(group, cooperative);
             var firstProducer = producer("transactional.id", target + "-1"); var secondProducer = producer("transactional.id", target + "-2")) {
            first.subscribe(List.of(source));
            second.subscribe(List.of(source));
            firstProducer.initTransactions();
            secondProducer.initTransactions();
            int done = 0, attempt = 0;
            while (done < 1000 || first.assignment().isEmpty() || second.assignment().isEmpty()) {
                check(System.nanoTime() < DEADLINE, done + " of 1000 processed");
                done += step(first, firstProducer, target, ++attempt % 4 == 0);
                done += step(second, secondProducer, target, attempt % 5 == 0);
            }
            check(first.assignment().size() + second.assignment().size() == 6, "the partitions are shared");
            var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            check(described.members().size() == 2 && described.groupState() == GroupState.STABLE, described);
            check(admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)), "the group is listed");
        }
        var values = read(target);
        check(values.size() == 1000 && new HashSet<>(values).size() == 1000, "exactly once: " + values.size());
        long offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().values().stream().mapToLong(OffsetAndMetadata::offset).sum();
        check(offsets == 1000, "offsets " + offsets);
    }

    static int step(KafkaConsumer<String, String> consumer, KafkaProducer<String, String> producer, String target, boolean abort) {
        var records = consumer.poll(Duration.ofMillis(100));
        if (records.isEmpty()) return 0;
        producer.beginTransaction();
        Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
        for (var record : records) {
            producer.send(new ProducerRecord<>(target, record.partition(), record.value(), record.value()));
            next.merge(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1), (a, b) -> a.offset() > b.offset() ? a : b);
        }
        try {
            producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
            if (!abort) {
                producer.commitTransaction();
                return records.count();
            }
        } catch (CommitFailedException rebalanced) {
            // The group moved on while the records were under way: a cooperative member goes on reading meanwhile.
        }
        producer.abortTransaction();
        var committed = consumer.committed(next.keySet());
        for (var partition : next.keySet()) {
            if (committed.get(partition) == null) consumer.seekToBeginning(List.of(partition));
            else consumer.seek(partition, committed.get(partition).offset());
        }
        return 0;
    }

    static void fence(String target) {
        try (var zombie = producer("transactional.id", target + "-fenced"); var successor = producer("transactional.id", target + "-fenced")) {
            int before = read(target).size();
            zombie.initTransactions();
            zombie.beginTransaction();
            zombie.send(new ProducerRecord<>(target, "zombie", "zombie"));
            zombie.flush();
            check(read(target).size() == before, "an open transaction is visible");
            successor.initTransactions();
            try {
                zombie.commitTransaction();
                check(false, "a fenced producer could commit");
            } catch (ProducerFencedException | InvalidProducerEpochException expected) {
                check(read(target).size() == before, "a fenced producer's record is visible");
            }
        }
    }
}
