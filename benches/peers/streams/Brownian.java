import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.Stores;

/**
 * The job of `fireworks brownian` as a Kafka Streams application: Kafka Streams 4.3.1 with exactly_once_v2, Jackson
 * 2.21.2, Java 17.
 *
 * <p>What made it faster, most first: the windows on the heap and the store for the changelog alone (see Changelog),
 * one small record a reading in it (a whole window is 5 kB), bytes as keys and values with Jackson's streaming parser
 * and one generator for all steps, no record cache, large fetches and batches, a collector without threads.
 */
public final class Brownian {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>(Map.of("--commit-interval-ms", "100", "--threads", "1"));
        for (int i = 0; i + 1 < arguments.length; i += 2) options.put(arguments[i], arguments[i + 1]);
        for (String needed : new String[] {"--bootstrap-servers", "--input", "--output", "--group"}) {
            if (options.get(needed) == null) {
                System.err.println("streams: " + needed + " is missing");
                System.exit(2);
            }
        }
        Path directory = Files.createTempDirectory("streams-peer");
        var streams = new KafkaStreams(
                topology(options.get("--input"), options.get("--output")), settings(options, directory));
        var stop = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(10));
            streams.cleanUp();
            directory.toFile().delete();
            stop.countDown();
        }));
        streams.start();
        stop.await();
    }

    private static Topology topology(String input, String output) {
        var bytes = new ByteArrayDeserializer();
        var store = Stores.keyValueStoreBuilder(
                Changelog.supplier(Steps.STORE), Serdes.Bytes(), Serdes.ByteArray());
        return new Topology()
                .addSource("readings", bytes, bytes, input)
                .addProcessor("steps", Steps::new, "readings")
                .addStateStore(store.withLoggingEnabled(Map.of()), "steps")
                // The producer's own partitioner is murmur2 of the key: where the reading came from.
                .addSink("markov", output, new ByteArraySerializer(), new ByteArraySerializer(), "steps");
    }

    private static Properties settings(Map<String, String> options, Path directory) {
        var settings = new Properties();
        settings.put("application.id", options.get("--group"));
        settings.put("bootstrap.servers", options.get("--bootstrap-servers"));
        settings.put("processing.guarantee", StreamsConfig.EXACTLY_ONCE_V2);
        settings.put("commit.interval.ms", options.get("--commit-interval-ms"));
        settings.put("num.stream.threads", options.get("--threads"));
        settings.put("state.dir", directory.toString());
        settings.put("statestore.cache.max.bytes", "0");
        settings.put("buffered.records.per.partition", "10000");
        settings.put("metric.reporters", "");
        settings.put("enable.metrics.push", "false");
        settings.put("consumer.auto.offset.reset", "earliest");
        settings.put("consumer.session.timeout.ms", "10000");
        settings.put("consumer.max.poll.records", "10000");
        settings.put("consumer.max.partition.fetch.bytes", "4194304");
        settings.put("consumer.receive.buffer.bytes", "1048576");
        settings.put("consumer.check.crcs", "false");
        settings.put("producer.linger.ms", "100");
        settings.put("producer.batch.size", "524288");
        settings.put("producer.buffer.memory", "268435456");
        settings.put("producer.send.buffer.bytes", "1048576");
        settings.put("producer.compression.type", "lz4");
        return settings;
    }
}
