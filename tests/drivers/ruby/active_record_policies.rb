# ActiveRecord as two tenants. What the environment means: ../python/scenario.py.

require "active_record"
require_relative "scenario"

def settings(url, **more) = { adapter: "postgresql", url: url, pool: 8, **more }

class Acme < ActiveRecord::Base
  self.abstract_class = true
  establish_connection(settings(ACME[1]))
end

class Globex < ActiveRecord::Base
  self.abstract_class = true
  establish_connection(settings(GLOBEX[1]))
end

class AcmeNote < Acme
  self.table_name = "notes"
end

class GlobexNote < Globex
  self.table_name = "notes"
end

TENANTS = [["acme", AcmeNote, ACME[2]], ["globex", GlobexNote, GLOBEX[2]]].freeze

def context(notes) = notes.connection.select_value("SELECT #{CONTEXT}")

def bodies(notes, ending) = notes.where("body LIKE ?", "%: #{ending}").order(:id).pluck(:body)

def fails(state, exception, what)
  yield
rescue exception => error
  equal(error.cause.result.error_field(PG::PG_DIAG_SQLSTATE), state, what)
  error.cause.result
else
  raise "#{what}: expected #{state}, but it went through"
end

scenario "connects" do
  TENANTS.each do |name, notes, org|
    connection = notes.connection
    equal(connection.raw_connection.user, name, "user")
    equal(connection.database_version >= 140000, true, "server version")
    equal(connection.select_value("SHOW timezone"), "UTC", "what ActiveRecord sets when it connects")
    equal(context(notes), org, "context")
    equal(notes.column_names, %w[id org_id body], "columns")
    equal(connection.tables.include?("notes"), true, "tables")
  end
end

scenario "reads" do
  (TENANTS * 5).each do |name, notes, org|
    equal(bodies(notes, "first"), ["#{name}: first"], "rows")
    equal(notes.find_by(body: "#{name}: first").org_id, org, "a row, by a cached statement")
    equal(notes.exists?(1), name == "acme", "the row of acme by its key")
    equal(notes.find_each(batch_size: 1).map(&:org_id).uniq, [org], "tenants of the rows, in portions")
  end
end

scenario "writes" do
  TENANTS.each do |name, notes, org|
    note = notes.create!(body: "#{name}: written")
    equal(note.reload.org_id, org, "tenant of the row")
    note.update!(body: note.body + " twice")
    equal(notes.find_or_create_by!(body: "#{name}: written twice"), note, "find_or_create_by")
    equal(notes.where.not(org_id: org).update_all(body: "nobody's"), 0, "rows of others that an UPDATE reaches")
    equal(notes.where.not(org_id: org).delete_all, 0, "rows of others that a DELETE reaches")
    notes.create!(body: "#{name}: too much").destroy!
  end
  fails("42501", ActiveRecord::StatementInvalid, "a row for another tenant") do
    AcmeNote.create!(org_id: GLOBEX[2], body: "acme: astray")
  end
end

scenario "transactions" do
  TENANTS.each do |name, notes, org|
    notes.transaction do
      notes.create!(body: "#{name}: rolled back")
      equal(context(notes), org, "context")
      raise ActiveRecord::Rollback
    end
    equal(bodies(notes, "rolled back"), [], "after ROLLBACK")
    notes.transaction(isolation: :serializable) do
      equal(notes.connection.select_value("SHOW transaction_isolation"), "serializable", "isolation")
      equal(notes.lock.find_by(body: "#{name}: first").org_id, org, "FOR UPDATE")
    end
  end
end

scenario "savepoints" do
  TENANTS.each do |name, notes, org|
    notes.transaction do
      notes.transaction(requires_new: true) do
        notes.create!(body: "#{name}: undone")
        fails("22012", ActiveRecord::StatementInvalid, "an error") { notes.connection.select_value("SELECT 1 / 0") }
        raise ActiveRecord::Rollback
      end
      equal(context(notes), org, "context behind ROLLBACK TO")
      notes.transaction(requires_new: true) { notes.create!(body: "#{name}: saved") }
    end
    equal(bodies(notes, "undone") + bodies(notes, "saved"), ["#{name}: saved"], "rows")
  end
end

scenario "prepared" do
  # Values are bound and statements named: six threads each in front of four backends.
  threads = (TENANTS * 6).map do |name, notes, org|
    Thread.new do
      notes.connection_pool.with_connection do |connection|
        equal(connection.prepared_statements, true, "prepared statements")
        20.times do |round|
          equal(notes.where(id: round % 2..).distinct.pluck(:org_id), [org], "tenants of the rows")
          equal(notes.where(body: "#{name}: first").count, 1, "rows")
        end
      end
    end
  end
  threads.each(&:join)
end

scenario "errors" do
  result = fails("42703", ActiveRecord::StatementInvalid, "no column") { AcmeNote.connection.execute("SELECT 'ü', nothing") }
  equal(result.error_field(PG::PG_DIAG_STATEMENT_POSITION), "13", "position")
  result = fails("23505", ActiveRecord::RecordNotUnique, "a key twice") { AcmeNote.create!(id: 1, body: "acme: twice") }
  equal(result.error_field(PG::PG_DIAG_CONSTRAINT_NAME), "notes_pkey", "constraint")
  fails("23502", ActiveRecord::NotNullViolation, "no value") { AcmeNote.create!(body: nil) }
  equal(context(AcmeNote), ACME[2], "context afterwards")
end

scenario "batches" do
  TENANTS.each do |name, notes, org|
    rows = (1..500).map { |n| { body: "#{name}: batch #{n}" } }
    equal(notes.insert_all!(rows, returning: :org_id).rows.flatten.uniq, [org], "tenants of the rows")
    some = notes.where("body LIKE '%: batch 1_'").map { |note| { id: note.id, org_id: org, body: note.body + "!" } }
    equal(notes.upsert_all(some).length, 10, "rows that there were")
    notes.where("body LIKE '%: batch%'").in_batches(of: 100) { |batch| batch.update_all("body = body || '.'") }
    equal(notes.where("body LIKE '%.'").count, 500, "rows, in portions")
  end
end

scenario("copy") { skip("ActiveRecord has none") }
scenario("notifications") { skip("ActiveRecord has none") }

scenario "cancel" do
  notes, connection = AcmeNote, AcmeNote.connection
  notes.transaction do
    notes.transaction(requires_new: true) do
      connection.execute("SET LOCAL statement_timeout = '20ms'")
      fails("57014", ActiveRecord::QueryCanceled, "a timeout") { connection.execute("SELECT pg_sleep(60)") }
      raise ActiveRecord::Rollback
    end
    equal(context(notes), ACME[2], "context afterwards")
  end
  sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
  canceller = Thread.new do
    notes.connection_pool.with_connection { |watcher| Thread.pass until watcher.select_value(sleeping) == 1 }
    connection.raw_connection.cancel
  end
  fails("57014", ActiveRecord::QueryCanceled, "a cancelled query") { connection.execute("SELECT pg_sleep(60)") }
  canceller.join
  equal(context(notes), ACME[2], "context in the end")
end

scenario "habits" do
  TENANTS.each do |name, notes, org|
    connection = notes.connection
    # Migrations: a lock for the time, DDL in a transaction and, for an index, without one; the schema written down.
    equal(connection.get_advisory_lock(7), true, "the lock of migrations")
    table = "rails_#{name}"
    connection.transaction do
      connection.create_table(table) { |columns| columns.string(:word, null: false) && columns.timestamps }
      connection.change_column_default(table, :word, from: nil, to: "none")
    end
    connection.add_index(table, :word, algorithm: :concurrently)
    equal(connection.index_exists?(table, :word), true, "the index")
    written = StringIO.new
    ActiveRecord::SchemaDumper.dump(connection, written)
    equal(written.string.include?("create_table \"#{table}\""), true, "the schema")
    connection.drop_table(table)
    equal(connection.release_advisory_lock(7), true, "the lock of migrations, given back")
    # What it asks of a connection that it takes up again, and does where it gives one up.
    equal(connection.active?, true, "active?")
    connection.clear_cache!
    connection.reset!
    equal(connection.select_value("SHOW timezone"), "UTC", "time zone after reset!")
    connection.reconnect!
    equal(context(notes), org, "context after reconnect!")
  end
  # More statements than it keeps, with settings of its own.
  Acme.establish_connection(settings(ACME[1], statement_limit: 2, variables: { statement_timeout: "50s", work_mem: "5MB" }))
  8.times { |n| equal(AcmeNote.where(body: "acme: first").limit(n + 1).offset(n % 2).pluck(:org_id), [ACME[2]] * (1 - n % 2), "rows") }
  equal(AcmeNote.connection.select_value("SHOW work_mem"), "5MB", "a setting of its own")
  # As without names: what is recommended before other poolers.
  Acme.establish_connection(settings(ACME[1], prepared_statements: false, advisory_locks: false))
  equal(AcmeNote.where(body: "acme: first").pluck(:org_id), [ACME[2]], "without prepared statements")
end

run_scenarios
