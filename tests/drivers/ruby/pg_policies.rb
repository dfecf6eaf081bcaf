# ruby-pg as two tenants, with what Rails' adapter does. What the environment means: ../python/scenario.py.

require "pg"
require_relative "scenario"

TENANTS = [ACME, GLOBEX].freeze

def connected(tenant, **options)
  connection = PG.connect(tenant[1], **options)
  yield connection
ensure
  connection&.close
end

def one(connection, sql, values = []) = connection.exec_params(sql, values).getvalue(0, 0)

def bodies(connection, ending)
  connection.exec_params("SELECT body FROM notes WHERE body LIKE $1 ORDER BY id", ["%: #{ending}"]).column_values(0)
end

def fails(state, exception, what)
  yield
rescue exception => error
  equal(error.result.error_field(PG::PG_DIAG_SQLSTATE), state, what)
  error.result
else
  raise "#{what}: expected #{state}, but it went through"
end

scenario "connects" do
  TENANTS.each do |name, url, org|
    connected([name, url]) do |connection|
      equal(connection.user, name, "user")
      equal(connection.server_version >= 140000, true, "server version")
      equal(one(connection, "SELECT #{CONTEXT}"), org, "context")
    end
  end
end

scenario "reads" do
  (TENANTS * 5).each do |tenant|
    connected(tenant) do |connection|
      equal(bodies(connection, "first"), ["#{tenant[0]}: first"], "rows")
      connection.send_query("SELECT body FROM notes ORDER BY id LIMIT 2")
      connection.set_single_row_mode
      got = connection.get_result.stream_each.map { |row| row["body"] }
      connection.get_last_result
      equal(got, ["#{tenant[0]}: first", "#{tenant[0]}: second"], "row by row")
    end
  end
end

scenario "writes" do
  TENANTS.each do |name, url, org|
    connected([name, url]) do |connection|
      equal(one(connection, "INSERT INTO notes (body) VALUES ($1) RETURNING org_id", ["#{name}: written"]), org, "tenant of the row")
      equal(connection.exec("UPDATE notes SET body = body || ' twice' WHERE body LIKE '%: written'").cmd_tuples, 1, "rows that an UPDATE reaches")
      equal(connection.exec("DELETE FROM notes WHERE org_id <> org()").cmd_tuples, 0, "rows of others that a DELETE reaches")
    end
  end
  connected(ACME) do |connection|
    fails("42501", PG::InsufficientPrivilege, "a row for another tenant") do
      connection.exec_params("INSERT INTO notes (org_id, body) VALUES ($1, 'acme: astray')", [GLOBEX[2]])
    end
  end
end

scenario "transactions" do
  TENANTS.each do |name, url, org|
    connected([name, url]) do |connection|
      begin
        connection.transaction do
          connection.exec_params("INSERT INTO notes (body) VALUES ($1)", ["#{name}: rolled back"])
          equal(connection.transaction_status, PG::PQTRANS_INTRANS, "status")
          raise "enough"
        end
      rescue RuntimeError => error
        equal(error.message, "enough", "what ended the transaction")
      end
      equal(bodies(connection, "rolled back"), [], "after ROLLBACK")
      connection.exec("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY")
      equal(one(connection, "SELECT #{CONTEXT}"), org, "context")
      fails("25006", PG::ReadOnlySqlTransaction, "a write") { connection.exec("INSERT INTO notes (body) VALUES ('read only')") }
      connection.exec("ROLLBACK")
    end
  end
end

scenario "savepoints" do
  TENANTS.each do |name, url, org|
    connected([name, url]) do |connection|
      connection.transaction do
        connection.exec("SAVEPOINT active_record_1")
        connection.exec_params("INSERT INTO notes (body) VALUES ($1)", ["#{name}: undone"])
        fails("22012", PG::DivisionByZero, "an error") { connection.exec("SELECT 1 / 0") }
        fails("25P02", PG::InFailedSqlTransaction, "and behind it") { connection.exec("SELECT 1") }
        connection.exec("ROLLBACK TO SAVEPOINT active_record_1")
        equal(one(connection, "SELECT #{CONTEXT}"), org, "context behind ROLLBACK TO")
        connection.exec_params("INSERT INTO notes (body) VALUES ($1)", ["#{name}: saved"])
      end
      equal(bodies(connection, "undone") + bodies(connection, "saved"), ["#{name}: saved"], "rows")
    end
  end
end

scenario "prepared" do
  # Six clients each in turn in front of four backends, named as Rails does; then without the names.
  clients = (TENANTS * 6).map { |tenant| [PG.connect(tenant[1]), tenant[2]] }
  sql = "SELECT count(*) FILTER (WHERE org_id <> $1), #{CONTEXT} FROM notes WHERE id > $2"
  clients.each { |connection, _| connection.prepare("a1", sql) }
  20.times do |round|
    clients.each do |connection, org|
      equal(connection.exec_prepared("a1", [org, round % 2]).values, [["0", org]], "others' rows, and context")
    end
  end
  connection, org = clients.first
  equal(connection.describe_prepared("a1").nfields, 2, "columns described")
  connection.exec("DEALLOCATE a1")
  fails("26000", PG::InvalidSqlStatementName, "a statement that is gone") { connection.exec_prepared("a1", [org, 1]) }
  equal(clients.last[0].exec_prepared("a1", [GLOBEX[2], 1]).getvalue(0, 1), GLOBEX[2], "and the others' is not")
  clients.each { |each, _| each.close }
end

scenario "errors" do
  connected(ACME) do |connection|
    result = fails("42703", PG::UndefinedColumn, "no column") { connection.exec("SELECT 'ü', nothing") }
    equal(result.error_field(PG::PG_DIAG_STATEMENT_POSITION), "13", "position")
    result = fails("23505", PG::UniqueViolation, "a key twice") { connection.exec("INSERT INTO notes (id, body) VALUES (1, 'acme: twice')") }
    equal(result.error_field(PG::PG_DIAG_CONSTRAINT_NAME), "notes_pkey", "constraint")
    notices = []
    connection.set_notice_processor { |message| notices << message }
    connection.exec("DO $$ BEGIN RAISE NOTICE 'seen'; END $$")
    equal(notices, ["NOTICE:  seen\n"], "notices")
  end
end

scenario "batches" do
  TENANTS.each do |name, url, org|
    connected([name, url]) do |connection|
      connection.enter_pipeline_mode
      200.times { |n| connection.send_query_params("INSERT INTO notes (body) VALUES ($1) RETURNING org_id", ["#{name}: batch #{n}"]) }
      connection.pipeline_sync
      got = 200.times.map { [connection.get_result, connection.get_result].first.getvalue(0, 0) }
      equal(connection.get_result.result_status, PG::PGRES_PIPELINE_SYNC, "end of the pipeline")
      connection.exit_pipeline_mode
      equal(got.uniq, [org], "tenants of the rows")
    end
  end
end

scenario "copy" do
  TENANTS.each do |name, url, _|
    connected([name, url]) do |connection|
      connection.transaction do
        lines = (1..1000).map { |n| "#{name}: copied #{n}\n" }
        connection.copy_data("COPY inbox (body) FROM STDIN") { lines.each { |line| connection.put_copy_data(line) } }
        equal(one(connection, "SELECT take_in()"), "1000", "rows taken in")
        got = []
        connection.copy_data("COPY (SELECT body FROM notes WHERE body LIKE '%: copied %' ORDER BY id) TO STDOUT") do
          while (line = connection.get_copy_data) do got << line end
        end
        equal(got.size, 1000, "rows out")
      end
    end
  end
end

scenario "notifications" do
  connected(ACME) do |listener|
    connected(GLOBEX) do |sender|
      listener.exec("LISTEN news")
      sender.exec("NOTIFY news, 'hello'")
      got = nil
      listener.wait_for_notify(30) { |channel, _, payload| got = [channel, payload] }
      equal(got, %w[news hello], "notification")
    end
  end
end

scenario "cancel" do
  connected(ACME) do |sleeper|
    connected(ACME) do |watcher|
      sleeper.send_query("SELECT pg_sleep(60)")
      sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
      nil until one(watcher, sleeping) == "1"
      sleeper.cancel
      fails("57014", PG::QueryCanceled, "a cancelled query") { sleeper.get_last_result }
      sleeper.transaction do
        sleeper.exec("SAVEPOINT one; SET LOCAL statement_timeout = '20ms'")
        fails("57014", PG::QueryCanceled, "a timeout") { sleeper.exec("SELECT pg_sleep(60)") }
        sleeper.exec("ROLLBACK TO one")
      end
      equal(one(sleeper, "SELECT #{CONTEXT}"), ACME[2], "context afterwards")
    end
  end
end

scenario "habits" do
  # What Rails' adapter sends when it connects, when it looks whether a connection lives, and when it resets one.
  TENANTS.each do |tenant|
    connected(tenant, options: "-c timezone=Asia/Tokyo") do |connection|
      connection.set_client_encoding("UTF8")
      ["SET client_min_messages TO 'warning'", "SET standard_conforming_strings = on", "SET intervalstyle = iso_8601",
       "SET SESSION timezone TO 'UTC'"].each { |sql| connection.exec(sql) }
      types = "SELECT t.oid, t.typname FROM pg_type AS t LEFT JOIN pg_range AS r ON oid = rngtypid WHERE t.typname IN ('int4', 'text')"
      equal(connection.exec(types).ntuples, 2, "types")
      columns = "SELECT a.attname FROM pg_attribute a WHERE a.attrelid = '\"notes\"'::regclass AND a.attnum > 0 ORDER BY a.attnum"
      equal(connection.exec(columns).column_values(0), %w[id org_id body], "columns")
      connection.exec(";")
      equal(one(connection, "SHOW timezone") + one(connection, "SELECT #{CONTEXT}"), "UTC#{tenant[2]}", "setting and context")
      connection.exec("ROLLBACK")
      connection.exec("DISCARD ALL")
      equal(one(connection, "SHOW timezone") + one(connection, "SELECT #{CONTEXT}"), "Asia/Tokyo#{tenant[2]}", "after DISCARD ALL")
      connection.reset
      equal(one(connection, "SELECT #{CONTEXT}"), tenant[2], "after a reset")
    end
  end
end

run_scenarios
