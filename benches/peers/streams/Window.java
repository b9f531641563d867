import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * The last 100 readings of a device. A reading stays in its slot, which is also its key in the store; only a list of
 * slots is kept in order.
 */
final class Window {
    private static final int CAPACITY = 100;

    int size;
    private final byte[] order = new byte[CAPACITY];
    private final long[] times = new long[CAPACITY];
    private final long[] indexes = new long[CAPACITY];
    private final double[] positions = new double[CAPACITY];
    private final double[] draws = new double[CAPACITY];
    private final double[] drifts = new double[CAPACITY];
    private final double[] volatilities = new double[CAPACITY];
    private final int[] revisions = new int[CAPACITY];

    /** The step computed last, and the reading before it. */
    double step;
    double dt;
    long previousIndex;
    long previousTime;
    double previousPosition;
    /** Whether the reading that went out last is the one before the first. */
    private boolean hasLeft;

    /** Puts a reading where it belongs, and returns its place; -1 if it is there already or too late. */
    int insert(Reading reading) {
        int place = size;
        while (place > 0 && compare(place - 1, reading) > 0) place--;
        if (place > 0 && compare(place - 1, reading) == 0) return -1;
        hasLeft = false;
        byte slot = (byte) size;
        if (size == CAPACITY) {
            if (place == 0) return -1;
            slot = order[0];
            place--;
            System.arraycopy(order, 1, order, 0, place);
            if (place == 0) {
                hasLeft = true;
                remember(slot);
            }
        } else {
            System.arraycopy(order, place, order, place + 1, size - place);
            size++;
        }
        order[place] = slot;
        times[slot] = reading.time;
        indexes[slot] = reading.index;
        positions[slot] = 0;
        draws[slot] = -reading.direction * Normal.inverseCdf((1 - reading.magnitude) / 2);
        drifts[slot] = reading.drift;
        volatilities[slot] = reading.volatility;
        revisions[slot] = 0;
        return place;
    }

    private int compare(int i, Reading reading) {
        int byTime = Long.compare(times[order[i]], reading.time);
        return byTime != 0 ? byTime : Long.compare(indexes[order[i]], reading.index);
    }

    private void remember(int slot) {
        previousIndex = indexes[slot];
        previousTime = times[slot];
        previousPosition = positions[slot];
    }

    boolean hasPrevious(int i) {
        return i > 0 || hasLeft;
    }

    /** Computes the position at a place from the one before, and whether that moves it. */
    boolean compute(int i) {
        int slot = order[i];
        if (i > 0) remember(order[i - 1]);
        double position = 0;
        step = 0;
        dt = 0;
        if (hasPrevious(i)) {
            dt = (times[slot] - previousTime) / 1000.0;
            step = drifts[slot] * dt + volatilities[slot] * Math.sqrt(dt) * draws[slot];
            position = previousPosition + step;
        }
        boolean moved = Double.doubleToRawLongBits(position) != Double.doubleToRawLongBits(positions[slot]);
        positions[slot] = position;
        return moved;
    }

    void revise(int i) {
        revisions[order[i]]++;
    }

    void addTo(Statistics statistics, int i) {
        statistics.add(times[order[i]], positions[order[i]]);
    }

    long time(int i) {
        return times[order[i]];
    }

    long index(int i) {
        return indexes[order[i]];
    }

    double position(int i) {
        return positions[order[i]];
    }

    int revision(int i) {
        return revisions[order[i]];
    }

    /** The store's key of the reading at a place: the device id and the slot. */
    byte[] key(byte[] deviceId, int i) {
        byte[] key = Arrays.copyOf(deviceId, deviceId.length + 1);
        key[deviceId.length] = order[i];
        return key;
    }

    byte[] value(int i) {
        int slot = order[i];
        return ByteBuffer.allocate(52)
                .putLong(times[slot]).putLong(indexes[slot]).putDouble(positions[slot]).putDouble(draws[slot])
                .putDouble(drifts[slot]).putDouble(volatilities[slot]).putInt(revisions[slot])
                .array();
    }

    /** Takes back what the store has kept; {@link #sort} follows. */
    void restore(byte slot, byte[] value) {
        var from = ByteBuffer.wrap(value);
        order[size++] = slot;
        times[slot] = from.getLong();
        indexes[slot] = from.getLong();
        positions[slot] = from.getDouble();
        draws[slot] = from.getDouble();
        drifts[slot] = from.getDouble();
        volatilities[slot] = from.getDouble();
        revisions[slot] = from.getInt();
    }

    void sort() {
        for (int i = 1; i < size; i++) {
            byte slot = order[i];
            int place = i;
            for (; place > 0 && isBefore(slot, order[place - 1]); place--) order[place] = order[place - 1];
            order[place] = slot;
        }
    }

    private boolean isBefore(int a, int b) {
        return times[a] != times[b] ? times[a] < times[b] : indexes[a] < indexes[b];
    }
}
