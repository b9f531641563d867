import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;

/** The fields of one reading, filled anew by each record. */
final class Reading {
    String deviceId;
    long index;
    long time;
    double magnitude;
    int direction;
    double drift;
    double volatility;

    /** Whether it is a reading. */
    boolean parse(JsonFactory factory, byte[] value) throws IOException {
        if (value == null) return false;
        int fields = 0;
        try (var json = factory.createParser(value)) {
            if (json.nextToken() != JsonToken.START_OBJECT) return false;
            for (String name; (name = json.nextFieldName()) != null; ) {
                json.nextToken();
                fields++;
                switch (name) {
                    case "device_id" -> deviceId = json.getText();
                    case "index" -> index = json.getLongValue();
                    case "event_time" -> time = EventTime.parse(json.getText());
                    case "magnitude" -> magnitude = json.getDoubleValue();
                    case "direction" -> direction = json.getIntValue();
                    case "drift" -> drift = json.getDoubleValue();
                    case "volatility" -> volatility = json.getDoubleValue();
                    default -> {
                        json.skipChildren();
                        fields--;
                    }
                }
            }
        }
        return fields == 7;
    }
}
