/** What the readings of a window say, fed oldest first. */
final class Statistics {
    int n;
    private long firstTime;
    private double firstPosition;
    private long lastTime;
    private double lastPosition;
    private int increments;
    private double squares;
    /** 1 after an increment up, 0 after one down, -1 before the first. */
    private int last;
    /** Four counts of 16 bits: a register adds where an array would have to be read and written. */
    private long pairs;

    void clear() {
        n = 0;
        increments = 0;
        squares = 0;
        last = -1;
        pairs = 0;
    }

    void add(long time, double position) {
        if (n++ == 0) {
            firstTime = time;
            firstPosition = position;
        } else if (time > lastTime) {
            double increment = position - lastPosition;
            increments++;
            squares += increment * increment / ((time - lastTime) / 1000.0);
            if (increment != 0) {
                int up = increment > 0 ? 1 : 0;
                if (last >= 0) pairs += 1L << (last * 2 + up) * 16;
                last = up;
            }
        }
        lastTime = time;
        lastPosition = position;
    }

    private double seconds() {
        return (lastTime - firstTime) / 1000.0;
    }

    /** NaN where there is none. */
    double drift() {
        return increments > 0 ? (lastPosition - firstPosition) / seconds() : Double.NaN;
    }

    /** NaN where there is none. */
    double volatility() {
        if (increments < 2) return Double.NaN;
        double drift = drift();
        return Math.sqrt(Math.max(0, squares - drift * drift * seconds()) / (increments - 1));
    }

    long pairs(int was, int is) {
        return pairs >>> (was * 2 + is) * 16 & 0xffff;
    }
}
