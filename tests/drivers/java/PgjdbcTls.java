// pgjdbc before a server that requires TLS. What the environment means: ../python/scenario.py and
// ../python/psycopg3_tls.py.

import java.net.URI;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

class PgjdbcTls {
    interface Action { void run() throws Exception; }

    static final String CONTEXT = "current_setting('app.current_org_id', true)";
    static final String EXPECT = System.getenv("EXPECT_TENANT_VALUE");
    static final String AUTHORITY = System.getenv("TLS_AUTHORITY"), OTHER_AUTHORITY = System.getenv("TLS_OTHER_AUTHORITY");

    static Connection connect(String... options) throws SQLException {
        var url = URI.create(System.getenv("DATABASE_URL"));
        var settings = new Properties();
        settings.setProperty("user", url.getUserInfo().split(":")[0]);
        settings.setProperty("password", url.getUserInfo().split(":")[1]);
        for (int i = 0; i < options.length; i += 2) settings.setProperty(options[i], options[i + 1]);
        return DriverManager.getConnection("jdbc:postgresql://" + url.getAuthority().split("@")[1] + url.getPath(), settings);
    }

    /** Statements of each kind over one connection, and a large one. */
    static void work(String... options) throws SQLException {
        try (var connection = connect(options); var statement = connection.prepareStatement("SELECT ?, " + CONTEXT)) {
            for (int n = 0; n < 8; n++) {
                statement.setInt(1, n);
                var rows = statement.executeQuery();
                rows.next();
                equal(List.of(rows.getInt(1), rows.getString(2)), List.of(n, EXPECT), "number and context");
            }
            var text = "x".repeat(3_000_000);
            try (var large = connection.prepareStatement("SELECT ?::text")) {
                large.setString(1, text);
                var rows = large.executeQuery();
                rows.next();
                equal(rows.getString(1).equals(text), true, "a large value, there and back");
            }
        }
    }

    static void equal(Object got, Object want, String what) {
        if (!Objects.equals(got, want)) throw new AssertionError(what + ": expected " + want + ", got " + got);
    }

    static void fails(String state, String what, Action action) throws Exception {
        try { action.run(); } catch (SQLException error) { equal(error.getSQLState(), state, what); return; }
        throw new AssertionError(what + ": expected " + state + ", but it went through");
    }

    static void cancel() throws Exception {
        try (var connection = connect("sslmode", "require"); var watcher = connect("sslmode", "require")) {
            var statement = connection.createStatement();
            var sleep = Executors.newSingleThreadExecutor().submit(() -> statement.execute("SELECT pg_sleep(60)"));
            for (var sleeping = 0; sleeping != 1; ) {
                var rows = watcher.createStatement().executeQuery("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
                rows.next();
                sleeping = rows.getInt(1);
            }
            statement.cancel();
            fails("57014", "a cancelled query", () -> {
                try { sleep.get(); } catch (ExecutionException error) { throw (SQLException) error.getCause(); }
            });
        }
    }

    public static void main(String... names) {
        var scenarios = new LinkedHashMap<String, Action>();
        scenarios.put("require", () -> work("sslmode", "require"));
        scenarios.put("verify_full", () -> work("sslmode", "verify-full", "sslrootcert", AUTHORITY));
        scenarios.put("another_authority", () -> fails("08006", "the server's certificate", () -> work("sslmode", "verify-full", "sslrootcert", OTHER_AUTHORITY)));
        scenarios.put("without_tls", () -> fails("28000", "a login in clear text", () -> work("sslmode", "disable")));
        scenarios.put("cancel", PgjdbcTls::cancel);
        int passed = 0, failed = 0;
        for (var scenario : scenarios.entrySet()) {
            if (names.length > 0 && !List.of(names).contains(scenario.getKey())) continue;
            try { scenario.getValue().run(); passed++; System.out.println("ok " + scenario.getKey()); }
            catch (Throwable problem) {
                failed++;
                System.out.print("FAILED " + scenario.getKey() + ": ");
                problem.printStackTrace(System.out);
            }
        }
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
