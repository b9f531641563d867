package fireworks;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerInterceptor;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Header;

/**
 * Gives a record the timestamp that its header names, and takes that header off.
 *
 * <p>Spark's Kafka sink has columns for topic, partition, key, value and headers, but none for a record's timestamp,
 * which would be the producer's clock. A reading's is its event time. An interceptor is the producer's own way to
 * change a record on its way out; the sink passes {@code kafka.interceptor.classes} on.
 */
public final class RecordTimestamp implements ProducerInterceptor<byte[], byte[]> {
    /** Milliseconds since 1970, as decimal text. */
    private static final String HEADER = "timestamp";

    @Override
    public ProducerRecord<byte[], byte[]> onSend(ProducerRecord<byte[], byte[]> record) {
        Header header = record.headers().lastHeader(HEADER);
        if (header == null) {
            return record;
        }
        record.headers().remove(HEADER);
        long timestamp = Long.parseLong(new String(header.value(), StandardCharsets.US_ASCII));
        return new ProducerRecord<>(
                record.topic(), record.partition(), timestamp, record.key(), record.value(), record.headers());
    }

    @Override
    public void onAcknowledgement(RecordMetadata metadata, Exception exception) {}

    @Override
    public void close() {}

    @Override
    public void configure(Map<String, ?> configs) {}
}
