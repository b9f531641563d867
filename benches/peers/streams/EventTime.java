import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.time.OffsetDateTime;

/** Milliseconds since 1970, and 24 characters such as 2026-11-22T12:00:41.000Z. */
final class EventTime {
    private static final long DAY = 86_400_000;

    static byte[] template() {
        return "0000-00-00T00:00:00.000Z".getBytes(StandardCharsets.US_ASCII);
    }

    static long parse(String text) throws IOException {
        try {
            if (text.length() != 24 || text.charAt(23) != 'Z') return OffsetDateTime.parse(text).toInstant().toEpochMilli();
            long day = LocalDate.of(number(text, 0, 4), number(text, 5, 7), number(text, 8, 10)).toEpochDay();
            int seconds = (number(text, 11, 13) * 60 + number(text, 14, 16)) * 60 + number(text, 17, 19);
            return day * DAY + seconds * 1000L + number(text, 20, 23);
        } catch (DateTimeException error) {
            throw new IOException(error);
        }
    }

    private static int number(String text, int from, int to) {
        int number = 0;
        for (int i = from; i < to; i++) number = number * 10 + text.charAt(i) - '0';
        return number;
    }

    static void format(long millis, byte[] text) {
        LocalDate day = LocalDate.ofEpochDay(millis / DAY);
        int rest = (int) (millis % DAY);
        digits(text, 0, 4, day.getYear());
        digits(text, 5, 7, day.getMonthValue());
        digits(text, 8, 10, day.getDayOfMonth());
        digits(text, 11, 13, rest / 3_600_000);
        digits(text, 14, 16, rest / 60_000 % 60);
        digits(text, 17, 19, rest / 1000 % 60);
        digits(text, 20, 23, rest % 1000);
    }

    private static void digits(byte[] text, int from, int to, int number) {
        for (int i = to - 1; i >= from; i--) {
            text[i] = (byte) ('0' + number % 10);
            number /= 10;
        }
    }
}
