// Asks a Flight SQL service by Arrow's JDBC driver and writes what it saw, a line each. Arguments: URL.
import java.lang.reflect.Method;
import java.sql.*;
import java.time.Instant;
import java.util.*;

public class AskByJdbc {
  public static void main(String[] args) throws Exception {
    // with a catalog the driver wants to close its session after its own channel, and throws: that one is not closed
    say("catalog", !DriverManager.getConnection(args[0] + "&catalog=").isClosed());
    try (Connection db = DriverManager.getConnection(args[0] + "&timestore-times=zoneless");
        Statement ask = db.createStatement();
        ResultSet rows = ask.executeQuery("SELECT min(ts) FROM weather")) {
      rows.next();
      say("zoneless", rows.getObject(1));
    }
    try (Connection db = DriverManager.getConnection(args[0] + "&timestore-as-of=weather%3D0");
        PreparedStatement ask = db.prepareStatement("SELECT count(*) FROM weather WHERE temp >= ?")) {
      ask.setDouble(1, 0);
      try (ResultSet rows = ask.executeQuery()) {
        rows.next();
        say("older", rows.getLong(1));
      }
    }
    try (Connection db = DriverManager.getConnection(args[0])) {
      selects(db);
      setters(db);
      listings(db.getMetaData());
      everyMethod(db.getMetaData());
      refused(db);
    }
  }

  static void say(String what, Object... values) {
    System.out.println(what + "=" + Arrays.deepToString(values));
  }

  static void selects(Connection db) throws Exception {
    try (Statement ask = db.createStatement();
        ResultSet rows = ask.executeQuery("SELECT station, ts, temp, 1.5::DECIMAL(9,2) AS price FROM main.weather ORDER BY ts LIMIT 1")) {
      ResultSetMetaData columns = rows.getMetaData();
      for (int i = 1; i <= columns.getColumnCount(); i++) say("column", columns.getColumnName(i));
      while (rows.next()) {
        say("row", rows.getString(1), rows.getTimestamp(2, Calendar.getInstance(TimeZone.getTimeZone("UTC"))).toInstant(),
            rows.getObject(2, Instant.class), rows.getDouble(3), rows.getBigDecimal(4));
      }
    }
    try (Statement ask = db.createStatement(); ResultSet rows = ask.executeQuery("SELECT 'a'::ENUM('a', 'b') AS kind")) {
      rows.next();
      say("enum", rows.getString(1));
    }
  }

  interface Setter { void set(PreparedStatement ask) throws SQLException; }

  static void one(Connection db, String name, String text, Setter setter) throws Exception {
    try (PreparedStatement ask = db.prepareStatement(text)) {
      setter.set(ask);
      try (ResultSet rows = ask.executeQuery()) {
        rows.next();
        say(name, rows.getLong(1));
      }
    }
  }

  static void setters(Connection db) throws Exception {
    String where = "SELECT count(*) FROM weather WHERE ";
    one(db, "setString", where + "station = ?", ask -> ask.setString(1, "S"));
    one(db, "setTimestamp", where + "ts >= ?", ask -> ask.setTimestamp(1, Timestamp.from(Instant.parse("2024-01-01T05:00:00Z"))));
    one(db, "setDouble", where + "temp > ?", ask -> ask.setDouble(1, 6.5));
    one(db, "setInt", "SELECT ?::BIGINT", ask -> ask.setInt(1, 41));
    one(db, "setLong", "SELECT ?::BIGINT", ask -> ask.setLong(1, 1L << 40));
    one(db, "setBoolean", "SELECT (CASE WHEN ?::BOOLEAN THEN 1 ELSE 0 END)", ask -> ask.setBoolean(1, true));
    one(db, "limit", "SELECT count(*) FROM (SELECT * FROM weather LIMIT ?)", ask -> ask.setLong(1, 3));
    one(db, "setNull", "SELECT (CASE WHEN ?::BIGINT IS NULL THEN 1 ELSE 0 END)", ask -> ask.setNull(1, Types.BIGINT));
    // the same statement again with other values
    try (PreparedStatement ask = db.prepareStatement(where + "station = ? AND temp < ?")) {
      for (double most : new double[] {2, 4}) {
        ask.setString(1, "S");
        ask.setDouble(2, most);
        try (ResultSet rows = ask.executeQuery()) {
          rows.next();
          say("again", rows.getLong(1));
        }
      }
    }
  }

  static void listings(DatabaseMetaData about) throws Exception {
    try (ResultSet rows = about.getTables(null, null, "%", null)) {
      while (rows.next()) say("table", rows.getString("TABLE_SCHEM"), rows.getString("TABLE_NAME"), rows.getString("TABLE_TYPE"));
    }
    try (ResultSet rows = about.getColumns(null, null, "weather", "%")) {
      while (rows.next()) say("typed", rows.getString("COLUMN_NAME"), rows.getInt("DATA_TYPE"), rows.getString("TYPE_NAME"), rows.getString("IS_NULLABLE"));
    }
  }

  static void everyMethod(DatabaseMetaData about) throws Exception {
    int called = 0;
    for (Method method : DatabaseMetaData.class.getMethods()) {
      if (method.getParameterCount() > 0 || method.getDeclaringClass() != DatabaseMetaData.class) continue;
      try {
        Object found = method.invoke(about);
        if (found instanceof ResultSet rows) {
          while (rows.next()) {}
          rows.close();
        }
        called++;
      } catch (Exception error) {
        Throwable cause = error.getCause() == null ? error : error.getCause();
        say("threw", method.getName(), cause.getClass().getSimpleName(), cause.getMessage());
      }
    }
    say("methods", called > 100);
  }

  static void refused(Connection db) throws Exception {
    for (String text : new String[] {"SELECT nope FROM weather", "DROP TABLE weather"}) {
      try (Statement ask = db.createStatement()) {
        ask.executeQuery(text);
        say("taken", text);
      } catch (SQLException error) {
        say("refused", String.valueOf(error.getMessage()).split("\n")[0]);
      }
    }
  }
}
