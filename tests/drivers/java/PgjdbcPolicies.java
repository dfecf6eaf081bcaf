// pgjdbc as two tenants. What the environment means: ../python/scenario.py.

import java.io.StringReader;
import java.io.StringWriter;
import java.net.URI;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.postgresql.PGConnection;
import org.postgresql.util.PSQLException;

class PgjdbcPolicies {
    interface Action { void run() throws Exception; }
    record Tenant(String name, String url, String org) {}

    static final String CONTEXT = "current_setting('app.current_org_id', true)";
    static final Tenant ACME = new Tenant("acme", System.getenv("DATABASE_URL"), System.getenv("EXPECT_TENANT_VALUE"));
    static final Tenant GLOBEX = new Tenant("globex", System.getenv("OTHER_URL"), System.getenv("OTHER_EXPECT_TENANT_VALUE"));
    static final List<Tenant> TENANTS = List.of(ACME, GLOBEX);

    static Connection connect(Tenant tenant, String... options) throws SQLException {
        var url = URI.create(tenant.url);
        var settings = new Properties();
        settings.setProperty("user", url.getUserInfo().split(":")[0]);
        settings.setProperty("password", url.getUserInfo().split(":")[1]);
        settings.setProperty("ApplicationName", "pgjdbc");
        for (int i = 0; i < options.length; i += 2) settings.setProperty(options[i], options[i + 1]);
        return DriverManager.getConnection("jdbc:postgresql://" + url.getAuthority().split("@")[1] + url.getPath(), settings);
    }

    static List<String> column(Connection connection, String sql, Object... values) throws SQLException {
        try (var statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
            var got = new ArrayList<String>();
            try (var rows = statement.executeQuery()) { while (rows.next()) got.add(rows.getString(1)); }
            return got;
        }
    }

    static String one(Connection connection, String sql, Object... values) throws SQLException {
        return column(connection, sql, values).get(0);
    }

    static int run(Connection connection, String sql) throws SQLException {
        try (var statement = connection.createStatement()) { return statement.executeUpdate(sql); }
    }

    static void equal(Object got, Object want, String what) {
        if (!Objects.equals(got, want)) throw new AssertionError(what + ": expected " + want + ", got " + got);
    }

    static PSQLException fails(String state, String what, Action action) throws Exception {
        try { action.run(); } catch (PSQLException error) { equal(error.getSQLState(), state, what); return error; }
        throw new AssertionError(what + ": expected " + state + ", but it went through");
    }

    static void connects() throws Exception {
        for (var tenant : TENANTS) try (var connection = connect(tenant)) {
            equal(connection.getMetaData().getUserName(), tenant.name, "user");
            equal(connection.getMetaData().getDatabaseMajorVersion() >= 14, true, "server version");
            equal(one(connection, "SELECT " + CONTEXT), tenant.org, "context");
            equal(one(connection, "SHOW application_name"), "pgjdbc", "application name");
            equal(connection.isValid(5), true, "valid");
            try (var found = connection.getMetaData().getColumns(null, "public", "notes", "%")) {
                equal(found.next() ? found.getString("COLUMN_NAME") : "", "id", "columns in the metadata");
            }
        }
    }

    static void reads() throws Exception {
        for (int i = 0; i < 5; i++) for (var tenant : TENANTS) try (var connection = connect(tenant)) {
            equal(column(connection, "SELECT body FROM notes WHERE body LIKE ?", "%: first"), List.of(tenant.name + ": first"), "rows");
            // In portions: a portal of the protocol, in a transaction.
            connection.setAutoCommit(false);
            var bodies = new ArrayList<String>();
            try (var statement = connection.prepareStatement("SELECT body FROM notes ORDER BY id LIMIT 2")) {
                statement.setFetchSize(1);
                try (var rows = statement.executeQuery()) { while (rows.next()) bodies.add(rows.getString(1)); }
            }
            connection.commit();
            equal(bodies, List.of(tenant.name + ": first", tenant.name + ": second"), "portions");
        }
    }

    static void writes() throws Exception {
        for (var tenant : TENANTS) try (var connection = connect(tenant)) {
            try (var statement = connection.prepareStatement("INSERT INTO notes (body) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
                statement.setString(1, tenant.name + ": written");
                equal(statement.executeUpdate(), 1, "rows");
                var keys = statement.getGeneratedKeys();
                keys.next();
                equal(keys.getString("org_id"), tenant.org, "tenant of the row");
            }
            equal(run(connection, "UPDATE notes SET body = body || ' twice' WHERE body LIKE '%: written'"), 1, "rows that an UPDATE reaches");
            equal(run(connection, "DELETE FROM notes WHERE org_id <> org()"), 0, "rows of others that a DELETE reaches");
        }
        try (var connection = connect(ACME)) {
            fails("42501", "another's", () -> run(connection, "INSERT INTO notes (org_id, body) VALUES ('" + GLOBEX.org + "', 'acme: astray')"));
        }
    }

    static void transactions() throws Exception {
        for (var tenant : TENANTS) try (var connection = connect(tenant)) {
            connection.setAutoCommit(false);
            run(connection, "INSERT INTO notes (body) VALUES ('" + tenant.name + ": rolled back')");
            connection.rollback();
            equal(column(connection, "SELECT body FROM notes WHERE body LIKE '%: rolled back'"), List.of(), "after ROLLBACK");
            connection.commit();
            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            connection.setReadOnly(true);
            equal(one(connection, "SELECT current_setting('transaction_isolation') || " + CONTEXT), "serializable" + tenant.org, "isolation, context");
            fails("25006", "a write", () -> run(connection, "INSERT INTO notes (body) VALUES ('read only')"));
            connection.rollback();
        }
    }

    static void savepoints() throws Exception {
        for (var tenant : TENANTS) try (var connection = connect(tenant, "autosave", "always")) {
            connection.setAutoCommit(false);
            var savepoint = connection.setSavepoint("one");
            run(connection, "INSERT INTO notes (body) VALUES ('" + tenant.name + ": undone')");
            connection.rollback(savepoint);
            equal(one(connection, "SELECT " + CONTEXT), tenant.org, "context behind ROLLBACK TO");
            run(connection, "INSERT INTO notes (body) VALUES ('" + tenant.name + ": saved')");
            // With autosave the driver goes back to a savepoint of its own.
            fails("22012", "an error", () -> one(connection, "SELECT 1 / 0"));
            equal(one(connection, "SELECT " + CONTEXT), tenant.org, "context behind an error");
            connection.commit();
            equal(column(connection, "SELECT body FROM notes WHERE body LIKE '%: undone' OR body LIKE '%: saved'"), List.of(tenant.name + ": saved"), "rows");
        }
    }

    static void prepared() throws Exception {
        // From the fifth execution on, statements have names; six clients each in front of four backends.
        var threads = Executors.newFixedThreadPool(12);
        var done = new ArrayList<Future<Void>>();
        for (int i = 0; i < 12; i++) {
            var tenant = TENANTS.get(i % 2);
            done.add(threads.submit(() -> {
                try (var connection = connect(tenant); var statement = connection.prepareStatement(
                        "SELECT count(*), count(*) FILTER (WHERE org_id <> ?::uuid), " + CONTEXT + " FROM notes WHERE id > ?")) {
                    for (int n = 0; n < 30; n++) {
                        statement.setString(1, tenant.org);
                        statement.setInt(2, n % 2);
                        var rows = statement.executeQuery();
                        rows.next();
                        equal(List.of(rows.getInt(1) > 0, rows.getInt(2), rows.getString(3)), List.of(true, 0, tenant.org), "rows, others' rows, context");
                    }
                    equal(((org.postgresql.PGStatement) statement).isUseServerPrepare(), true, "named by now");
                }
                return null;
            }));
        }
        for (var each : done) each.get();
        threads.shutdown();
    }

    static void errors() throws Exception {
        try (var connection = connect(ACME)) {
            equal(fails("42703", "no column", () -> one(connection, "SELECT 'ü', nothing")).getServerErrorMessage().getPosition(), 13, "position");
            var error = fails("23505", "a key twice", () -> run(connection, "INSERT INTO notes (id, body) VALUES (1, 'acme: twice')"));
            equal(error.getServerErrorMessage().getConstraint(), "notes_pkey", "constraint");
            try (var statement = connection.createStatement()) {
                statement.execute("DO $$ BEGIN RAISE NOTICE 'seen'; END $$");
                equal(statement.getWarnings().getMessage(), "seen", "notices");
            }
        }
    }

    static void batches() throws Exception {
        for (var rewrite : List.of("false", "true")) for (var tenant : TENANTS)
            try (var connection = connect(tenant, "reWriteBatchedInserts", rewrite);
                 var statement = connection.prepareStatement("INSERT INTO notes (body) VALUES (?)")) {
                connection.setAutoCommit(rewrite.equals("true"));
                for (int i = 0; i < 700; i++) {
                    statement.setString(1, tenant.name + ": batch " + rewrite);
                    statement.addBatch();
                }
                equal(statement.executeBatch().length, 700, "statements of the batch");
                equal(one(connection, "SELECT count(*) FROM notes WHERE body = ?", tenant.name + ": batch " + rewrite), "700", "rows");
                if (!connection.getAutoCommit()) connection.commit();
            }
        try (var connection = connect(ACME); var statement = connection.createStatement()) {
            for (var sql : List.of("1", "0")) statement.addBatch("INSERT INTO notes (body) SELECT 'acme: ' || 1 / " + sql);
            try { statement.executeBatch(); throw new AssertionError("a batch with an error went through"); }
            catch (BatchUpdateException error) { equal(error.getSQLState(), "22012", "error in a batch"); }
        }
    }

    static void copy() throws Exception {
        for (var tenant : TENANTS) try (var connection = connect(tenant)) {
            connection.setAutoCommit(false);
            var copies = connection.unwrap(PGConnection.class).getCopyAPI();
            var lines = IntStream.range(0, 1000).mapToObj(n -> tenant.name + ": copied " + n + "\n").collect(Collectors.joining());
            equal(copies.copyIn("COPY inbox (body) FROM STDIN", new StringReader(lines)), 1000L, "rows in");
            equal(one(connection, "SELECT take_in()"), "1000", "rows taken in");
            var got = new StringWriter();
            copies.copyOut("COPY (SELECT body FROM notes WHERE body LIKE '%: copied %' ORDER BY id) TO STDOUT", got);
            equal(got.toString(), lines, "what came back");
            connection.commit();
        }
    }

    static void notifications() throws Exception {
        try (var listener = connect(ACME); var sender = connect(GLOBEX)) {
            run(listener, "LISTEN news");
            run(sender, "NOTIFY news, 'hello'");
            var got = listener.unwrap(PGConnection.class).getNotifications(30_000);
            equal(got.length + got[0].getName() + got[0].getParameter(), "1newshello", "notifications");
        }
    }

    static void cancel() throws Exception {
        try (var sleeper = connect(ACME); var watcher = connect(ACME); var statement = sleeper.createStatement()) {
            var stopper = CompletableFuture.runAsync(() -> {
                try {
                    var sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
                    while (one(watcher, sleeping).equals("0")) Thread.onSpinWait();
                    statement.cancel();
                } catch (SQLException error) { throw new CompletionException(error); }
            });
            fails("57014", "a cancelled query", () -> statement.executeQuery("SELECT pg_sleep(60)"));
            stopper.join();
            statement.setQueryTimeout(1);
            fails("57014", "a timeout of the driver", () -> statement.executeQuery("SELECT pg_sleep(60)"));
            equal(one(sleeper, "SELECT " + CONTEXT), ACME.org, "context afterwards");
        }
    }

    static void habits() throws Exception {
        for (var tenant : TENANTS) {
            // SET extra_float_digits and application_name after the login; the simple protocol; a closed and a changed statement.
            try (var connection = connect(tenant, "assumeMinServerVersion", "8.0", "preferQueryMode", "simple", "options", "-c timezone=Asia/Tokyo")) {
                equal(column(connection, "SELECT body FROM notes WHERE body = ?", tenant.name + ": first").size(), 1, "simple protocol");
                equal(one(connection, "SHOW timezone"), TimeZone.getDefault().getID(), "time zone of the machine");
            }
            try (var connection = connect(tenant, "prepareThreshold", "1", "preparedStatementCacheQueries", "2", "currentSchema", "public")) {
                for (int n = 0; n < 12; n++) equal(one(connection, "SELECT " + CONTEXT + " || '" + n % 4 + "'"), tenant.org + n % 4, "context");
                connection.setClientInfo("ApplicationName", "renamed");
                equal(one(connection, "SHOW application_name"), "renamed", "application name");
                run(connection, "DEALLOCATE ALL");
                run(connection, "DISCARD ALL");
                equal(one(connection, "SELECT " + CONTEXT + " || '1'"), tenant.org + "1", "context after DISCARD ALL");
            }
        }
    }

    public static void main(String... names) {
        var scenarios = new LinkedHashMap<String, Action>();
        scenarios.put("connects", PgjdbcPolicies::connects);
        scenarios.put("reads", PgjdbcPolicies::reads);
        scenarios.put("writes", PgjdbcPolicies::writes);
        scenarios.put("transactions", PgjdbcPolicies::transactions);
        scenarios.put("savepoints", PgjdbcPolicies::savepoints);
        scenarios.put("prepared", PgjdbcPolicies::prepared);
        scenarios.put("errors", PgjdbcPolicies::errors);
        scenarios.put("batches", PgjdbcPolicies::batches);
        scenarios.put("copy", PgjdbcPolicies::copy);
        scenarios.put("notifications", PgjdbcPolicies::notifications);
        scenarios.put("cancel", PgjdbcPolicies::cancel);
        scenarios.put("habits", PgjdbcPolicies::habits);
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
