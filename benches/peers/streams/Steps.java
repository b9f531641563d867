import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.SerializableString;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.core.io.SerializedString;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Readings to steps. The windows are objects on the heap, made from the store when the task starts. */
final class Steps implements Processor<byte[], byte[], byte[], byte[]> {
    static final String STORE = "windows";

    private static final JsonFactory JSON = JsonFactory.builder()
            .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
            .enable(StreamWriteFeature.USE_FAST_DOUBLE_WRITER)
            .build();
    private static final SerializableString DEVICE_ID = new SerializedString("device_id");
    private static final SerializableString INDEX = new SerializedString("index");
    private static final SerializableString EVENT_TIME = new SerializedString("event_time");
    private static final SerializableString REVISION = new SerializedString("revision");
    private static final SerializableString POSITION = new SerializedString("position");
    private static final SerializableString STEP = new SerializedString("step");
    private static final SerializableString DT = new SerializedString("dt");
    private static final SerializableString PREVIOUS = new SerializedString("previous");
    private static final SerializableString WINDOW = new SerializedString("window");
    private static final SerializableString N = new SerializedString("n");
    private static final SerializableString DRIFT = new SerializedString("drift");
    private static final SerializableString VOLATILITY = new SerializedString("volatility");
    private static final SerializableString UP_UP = new SerializedString("up_up");
    private static final SerializableString UP_DOWN = new SerializedString("up_down");
    private static final SerializableString DOWN_UP = new SerializedString("down_up");
    private static final SerializableString DOWN_DOWN = new SerializedString("down_down");

    private final Map<String, Window> windows = new HashMap<>();
    private final Reading reading = new Reading();
    private final Statistics statistics = new Statistics();
    private final ByteArrayOutputStream out = new ByteArrayOutputStream(1024);
    private final JsonGenerator json;
    private final byte[] time = EventTime.template();
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<Bytes, byte[]> store;

    Steps() {
        try {
            json = JSON.createGenerator(out);
            json.setRootValueSeparator(null);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        store = context.getStateStore(STORE);
        windows.clear();
        try (var entries = store.all()) {
            entries.forEachRemaining(entry -> {
                byte[] key = entry.key.get();
                String device = new String(key, 0, key.length - 1, StandardCharsets.UTF_8);
                windows.computeIfAbsent(device, id -> new Window()).restore(key[key.length - 1], entry.value);
            });
        }
        windows.values().forEach(Window::sort);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        try {
            if (!reading.parse(JSON, record.value())) return;
            Window window = windows.get(reading.deviceId);
            if (window == null) windows.put(reading.deviceId, window = new Window());
            int place = window.insert(reading);
            if (place >= 0) walk(window, place, record);
        } catch (IOException malformed) {
            // Nothing that can be used.
        }
    }

    /** Computes the path again from a place on until nothing changes any more, and emits what has changed. */
    private void walk(Window window, int place, Record<byte[], byte[]> record) throws IOException {
        statistics.clear();
        for (int i = 0; i < place; i++) window.addTo(statistics, i);
        for (int i = place; i < window.size; i++) {
            boolean moved = window.compute(i);
            if (i > place) window.revise(i);
            window.addTo(statistics, i);
            context.forward(record.withValue(step(window, i)).withTimestamp(window.time(i)));
            store.put(Bytes.wrap(window.key(record.key(), i)), window.value(i));
            if (i > place && !moved) break;
        }
    }

    private byte[] step(Window window, int i) throws IOException {
        json.writeStartObject();
        json.writeFieldName(DEVICE_ID);
        json.writeString(reading.deviceId);
        write(INDEX, window.index(i));
        writeTime(window.time(i));
        write(REVISION, window.revision(i));
        write(POSITION, window.position(i));
        write(STEP, window.step);
        write(DT, window.dt);
        json.writeFieldName(PREVIOUS);
        if (window.hasPrevious(i)) {
            json.writeStartObject();
            write(INDEX, window.previousIndex);
            writeTime(window.previousTime);
            write(POSITION, window.previousPosition);
            json.writeEndObject();
        } else {
            json.writeNull();
        }
        json.writeFieldName(WINDOW);
        json.writeStartObject();
        write(N, statistics.n);
        write(DRIFT, statistics.drift());
        write(VOLATILITY, statistics.volatility());
        write(UP_UP, statistics.pairs(1, 1));
        write(UP_DOWN, statistics.pairs(1, 0));
        write(DOWN_UP, statistics.pairs(0, 1));
        write(DOWN_DOWN, statistics.pairs(0, 0));
        json.writeEndObject();
        json.writeEndObject();
        json.flush();
        byte[] value = out.toByteArray();
        out.reset();
        return value;
    }

    private void write(SerializableString name, long value) throws IOException {
        json.writeFieldName(name);
        json.writeNumber(value);
    }

    private void write(SerializableString name, double value) throws IOException {
        json.writeFieldName(name);
        if (Double.isNaN(value)) json.writeNull();
        else json.writeNumber(value);
    }

    private void writeTime(long millis) throws IOException {
        EventTime.format(millis, time);
        json.writeFieldName(EVENT_TIME);
        json.writeRawUTF8String(time, 0, time.length);
    }
}
