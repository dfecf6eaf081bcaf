// Scenarios for node-postgres (`pg`). How to run them, and what the environment means: scenario.mjs.

import { createHash } from "node:crypto";
import pg from "pg";
import {
  BYTES, CONTEXT, DATABASE_URL, DIRECT_URL, EXPECT, LARGE, OTHER_EXPECT, OTHER_URL, SESSION_POOLING, TEXT, equal, errorFields,
  failingQueries, fails, inContext, newTable, positionOf, run, scenario, skip, yes,
} from "./scenario.mjs";

// The driver warns about `queued_queries`: its next major version leaves queueing to the application.
process.noDeprecation = true;

// [type, value, how the driver gives it back, how the server writes it]
const VALUES = [
  ["bool", true, true, "true"],
  ["int2", -32768, -32768, "-32768"],
  ["int4", 2147483647, 2147483647, "2147483647"],
  ["int8", "-9223372036854775808", "-9223372036854775808", "-9223372036854775808"],
  ["float8", 0.1, 0.1, "0.1"],
  ["numeric", "12345678901234567890.0123456789", "12345678901234567890.0123456789", "12345678901234567890.0123456789"],
  ["text", TEXT, TEXT, TEXT],
  ["text", "", "", ""],
  ["bytea", BYTES, BYTES, `\\x${BYTES.toString("hex")}`],
  ["jsonb", { a: [1, null, "ü"], b: { c: 1.5 } }, { a: [1, null, "ü"], b: { c: 1.5 } }, '{"a": [1, null, "ü"], "b": {"c": 1.5}}'],
  ["int4[]", [1, null, 3], [1, null, 3], "{1,NULL,3}"],
  ["text[]", ["a,b", 'c"d', null, ""], ["a,b", 'c"d', null, ""], '{"a,b","c\\"d",NULL,""}'],
  ["timestamptz", new Date("2024-02-29T23:59:59.123Z"), new Date("2024-02-29T23:59:59.123Z"), "2024-02-29 23:59:59.123+00"],
  ["uuid", "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000001"],
  ["int4", null, null, null],
  ["text", null, null, null],
];

async function connect(url = DATABASE_URL, options = {}) {
  const client = new pg.Client({ connectionString: url, ...options });
  await client.connect();
  return client;
}

/** Runs `action` with as many connections as it has parameters, and closes them. */
async function connected(action) {
  const clients = await Promise.all(Array.from({ length: action.length }, () => connect()));
  try {
    await action(...clients);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** A table for one scenario. Rows note by themselves which tenant they were written for. */
async function withTable(client, columns, action) {
  const name = newTable();
  await client.query(`CREATE TABLE ${name} (${columns}, tenant text DEFAULT ${CONTEXT})`);
  try {
    await action(name);
  } finally {
    await client.query("ROLLBACK");
    await client.query(`DROP TABLE IF EXISTS ${name}`);
  }
}

async function scalar(client, text, values) {
  return (await client.query({ text, values, rowMode: "array" })).rows[0][0];
}

async function checkContext(client, what) {
  inContext(await scalar(client, `SELECT ${CONTEXT}`), what);
}

/** Checks that a table holds `count` rows, all written for the expected tenant. */
async function checkTenants(client, name, count, what) {
  const { rows } = await client.query(`SELECT tenant, count(*)::int AS count FROM ${name} GROUP BY tenant`);
  equal(rows.reduce((sum, row) => sum + row.count, 0), count, `${what}: rows`);
  if (EXPECT !== undefined && count > 0) equal(rows, [{ tenant: EXPECT, count }], `${what}: tenants of the rows`);
}

async function ids(client, name) {
  return (await client.query(`SELECT id FROM ${name} ORDER BY id`)).rows.map((row) => row.id);
}

scenario("connects", async () => {
  await connected(async (client) => {
    equal(await scalar(client, "SELECT 1"), 1, "first query");
    await checkContext(client, "first transaction");
  });
  await connected(async (a, b, c, d, e, f, g, h) => {
    for (const client of [a, b, c, d, e, f, g, h]) await checkContext(client, "one of eight, opened at once");
  });
});

scenario("server_parameters", async () => {
  const reported = {};
  const client = new pg.Client({ connectionString: DATABASE_URL, application_name: "pgw scenario" });
  client.connection.on("parameterStatus", ({ parameterName, parameterValue }) => {
    reported[parameterName] = parameterValue;
  });
  await client.connect();
  try {
    for (const name of ["server_version", "server_encoding", "client_encoding", "is_superuser", "session_authorization",
      "DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "application_name"]) {
      equal(reported[name], await scalar(client, `SHOW ${name}`), `reported ${name} against SHOW`);
    }
    equal(reported.application_name, "pgw scenario", "application_name");
    yes(Number.isInteger(client.processID) && client.processID !== 0, "backend key data");
    if (SESSION_POOLING) equal(client.processID, await scalar(client, "SELECT pg_backend_pid()"), "backend pid");
    await checkContext(client, "after SHOW");
  } finally {
    await client.end();
  }
});

async function checkValues(client, what, name) {
  for (const [type, value, back, text] of VALUES) {
    const query = `SELECT $1::${type} AS value, ($1::${type})::text AS text, ${CONTEXT} AS context`;
    const { rows: [row] } = await client.query({ text: query, values: [value], name: name?.(type, value) });
    equal(row.value, back, `${what}: ${type}`);
    equal(row.text, text, `${what}: ${type} as the server writes it`);
    inContext(row.context, `${what}: ${type}`);
  }
}

scenario("types_in_simple_queries", () => connected(async (client) => {
  await client.query("SET TIME ZONE 'UTC'");
  for (const [type, , back, text] of VALUES) {
    const literal = text === null ? "NULL" : pg.escapeLiteral(text);
    const { rows: [row] } = await client.query(`SELECT ${literal}::${type} AS value, ${CONTEXT} AS context`);
    equal(row.value, back, type);
    inContext(row.context, type);
  }
}));

scenario("types_in_extended_queries", () => connected(async (client) => {
  await client.query("SET TIME ZONE 'UTC'");
  await checkValues(client, "unnamed");
}));

scenario("types_in_prepared_statements", () => connected(async (client) => {
  await client.query("SET TIME ZONE 'UTC'");
  for (const attempt of [0, 1, 2]) await checkValues(client, `attempt ${attempt}`, (type) => `by_type_${type}`);
}));

scenario("result_shapes", () => connected(async (client) => {
  const squares = await client.query({ text: "SELECT n, n * n FROM generate_series(1, 1000) AS n", rowMode: "array" });
  equal(squares.rows, Array.from({ length: 1000 }, (_, n) => [n + 1, (n + 1) ** 2]), "1,000 rows");
  equal((await client.query("SELECT 1 WHERE false")).rows, [], "no rows");
  equal((await client.query("")).command, null, "empty query");
  equal((await client.query("VALUES (1), (2)")).command, "SELECT", "command tag");
  const { rows } = await client.query({ text: `SELECT ${CONTEXT} AS context FROM generate_series(1, $1::int)`, values: [100] });
  equal(rows.length, 100, "rows");
  for (const row of rows) inContext(row.context, "every row");
  const binary = await client.query({ text: `SELECT $1::int4 AS n, ${CONTEXT} AS context`, values: [77], binary: true });
  equal(binary.rows[0].n, 77, "binary results");
}));

scenario("prepared_across_transactions", () => connected(async (client) => {
  const statement = { name: "reused", text: `SELECT $1::int + 1 AS next, ${CONTEXT} AS context` };
  for (let n = 0; n < 50; n += 1) {
    if (n % 3 > 0) await client.query("BEGIN");
    const { rows: [row] } = await client.query({ ...statement, values: [n] });
    if (n % 3 > 0) await client.query(n % 3 === 1 ? "COMMIT" : "ROLLBACK");
    equal(row.next, n + 1, `transaction ${n}`);
    inContext(row.context, `transaction ${n}`);
  }
}));

scenario("prepared_in_a_pool", async () => {
  const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 12 });
  try {
    await Promise.all(Array.from({ length: 48 }, async (_, number) => {
      for (let turn = 0; turn < 10; turn += 1) {
        const what = `client ${number}, turn ${turn}`;
        const { rows: [row] } = await pool.query({
          name: "shared", text: `SELECT $1::int AS number, ${CONTEXT} AS context`, values: [number * 100 + turn],
        });
        equal(row.number, number * 100 + turn, what);
        inContext(row.context, what);
        const client = await pool.connect();
        try {
          await client.query("BEGIN");
          const { rows: [own] } = await client.query({
            name: `only_${number}`, text: `SELECT 'only ${number}' || $1::text AS words, ${CONTEXT} AS context`, values: ["!"],
          });
          await client.query("COMMIT");
          equal(own.words, `only ${number}!`, `own statement of ${what}`);
          inContext(own.context, `own statement of ${what}`);
        } finally {
          client.release();
        }
      }
    }));
    // The same name for different texts on different connections.
    await Promise.all(Array.from({ length: 12 }, async (_, number) => {
      const client = await connect();
      for (let turn = 0; turn < 5; turn += 1) {
        equal((await client.query({ name: "same_name", text: `SELECT ${number} AS own`, values: [] })).rows[0].own, number,
          `own text of connection ${number}`);
      }
      await client.end();
    }));
  } finally {
    await pool.end();
  }
});

scenario("prepared_and_altered", () => connected(async (client, second) => {
  await withTable(client, "id int", async (name) => {
    await client.query(`INSERT INTO ${name} VALUES (1)`);
    const query = (version) => ({ name: `star_${version}`, text: `SELECT * FROM ${name} WHERE id = $1`, values: [1] });
    for (const user of [client, second]) equal(Object.keys((await user.query(query(1))).rows[0]), ["id", "tenant"], "before");
    await client.query(`ALTER TABLE ${name} ADD COLUMN extra int DEFAULT 7`);
    for (const user of [second, client]) {
      try {
        equal(Object.keys((await user.query(query(1))).rows[0]), ["id", "tenant", "extra"], "after");
      } catch (error) {
        equal([error.code, error.message], ["0A000", "cached plan must not change result type"], "error of the old statement");
      }
      const { rows: [row] } = await user.query(query(2));
      equal(row, { id: 1, tenant: row.tenant, extra: 7 }, "a fresh statement");
      inContext(row.tenant, "tenant of the row");
    }
  });
}));

scenario("queued_queries", () => connected(async (client) => {
  await withTable(client, "id int", async (name) => {
    const replies = await Promise.all(Array.from({ length: 200 }, (_, n) => (n % 2
      ? client.query(`SELECT $1::int AS n, ${CONTEXT} AS context`, [n])
      : client.query(`SELECT ${n} AS n, ${CONTEXT} AS context`))));
    replies.forEach(({ rows: [row] }, n) => {
      equal(row.n, n, `reply ${n}`);
      inContext(row.context, `reply ${n}`);
    });
    const outcomes = await Promise.allSettled([
      client.query("BEGIN"), client.query(`INSERT INTO ${name} VALUES (1)`), client.query("COMMIT"),
      client.query("SELECT 1 / 0"), client.query(`INSERT INTO ${name} VALUES (2)`), client.query("SELECT $1::int", ["x"]),
      client.query(`INSERT INTO ${name} VALUES ($1)`, [3]),
    ]);
    equal(outcomes.map((outcome) => outcome.reason?.code ?? outcome.value.command),
      ["BEGIN", "INSERT", "COMMIT", "22012", "INSERT", "22P02", "INSERT"], "outcomes");
    equal(await ids(client, name), [1, 2, 3], "rows");
    await checkTenants(client, name, 3, "queued");
  });
}));

scenario("isolation_levels", () => connected(async (client) => {
  await withTable(client, "id int", async (name) => {
    for (const level of ["read uncommitted", "read committed", "repeatable read", "serializable"]) {
      await client.query(`BEGIN ISOLATION LEVEL ${level}`);
      await checkContext(client, level);
      equal(await scalar(client, "SHOW transaction_isolation"), level, "BEGIN ISOLATION LEVEL");
      await client.query("COMMIT");
    }
    await client.query("BEGIN READ ONLY");
    await checkContext(client, "read only");
    await fails("25006", "write", () => client.query(`INSERT INTO ${name} VALUES ($1)`, [1]));
    await client.query("ROLLBACK");
    await client.query("START TRANSACTION");
    await client.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE");
    await checkContext(client, "after SET TRANSACTION");
    equal(await scalar(client, "SHOW transaction_isolation"), "serializable", "SET TRANSACTION");
    await fails("25001", "SET TRANSACTION behind a query", () => client.query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"));
    await client.query("ROLLBACK");
    await checkContext(client, "afterwards");
  });
}));

scenario("commit_and_rollback", () => connected(async (client, reader) => {
  await withTable(client, "id int", async (name) => {
    await client.query("BEGIN");
    await client.query(`INSERT INTO ${name} VALUES (1)`);
    equal(await ids(reader, name), [], "not visible before COMMIT");
    equal((await client.query("COMMIT")).command, "COMMIT", "tag");
    equal(await ids(reader, name), [1], "visible after COMMIT");
    await client.query("BEGIN");
    equal((await client.query(`DELETE FROM ${name}`)).rowCount, 1, "deleted");
    await checkContext(client, "in the block");
    await client.query("ROLLBACK AND CHAIN");
    await checkContext(client, "after ROLLBACK AND CHAIN");
    await client.query(`INSERT INTO ${name} VALUES (2)`);
    await client.query("COMMIT AND CHAIN");
    await checkContext(client, "after COMMIT AND CHAIN");
    await client.query(`INSERT INTO ${name} VALUES ($1)`, [3]);
    await client.query("COMMIT");
    equal(await ids(client, name), [1, 2, 3], "rows");
    await checkTenants(client, name, 3, "in the end");
  });
}));

scenario("savepoints", () => connected(async (client) => {
  await withTable(client, "id int", async (name) => {
    await client.query("BEGIN");
    await client.query("SAVEPOINT first");
    await checkContext(client, "behind the savepoint");
    await client.query("ROLLBACK TO first");
    await checkContext(client, "after ROLLBACK TO");
    await client.query(`INSERT INTO ${name} VALUES (1)`);
    await client.query("SAVEPOINT second");
    await client.query({ name: "insert", text: `INSERT INTO ${name} VALUES ($1)`, values: [2] });
    await fails("22012", "error behind a savepoint", () => client.query("SELECT 1 / $1::int", [0]));
    await fails("25P02", "before ROLLBACK TO", () => client.query("SELECT 1"));
    await client.query("ROLLBACK TO second");
    await client.query({ name: "insert", text: `INSERT INTO ${name} VALUES ($1)`, values: [3] });
    await client.query("SAVEPOINT third");
    await client.query(`INSERT INTO ${name} VALUES (4)`);
    await client.query("RELEASE third");
    await checkContext(client, "after RELEASE");
    await client.query("COMMIT");
    equal(await ids(client, name), [1, 3, 4], "rows");
    await checkTenants(client, name, 3, "savepoints");
  });
}));

/** COPY through the driver's own wire: a query object with `submit` and the handlers the client calls. */
class Copy {
  constructor(text, input, { failWith } = {}) {
    Object.assign(this, { text, input, failWith, output: [], tag: null });
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
  }

  submit(connection) {
    connection.query(this.text);
  }

  handleCopyInResponse(connection) {
    for (const part of this.input) connection.sendCopyFromChunk(Buffer.from(part));
    if (this.failWith) connection.sendCopyFail(this.failWith);
    else connection.endCopyFrom();
  }

  handleCopyData(message) {
    this.output.push(Buffer.from(message.chunk)); // the chunk is a view of a buffer that is used again
  }

  handleCommandComplete(message) {
    this.tag = message.text;
  }

  handleError(error) {
    this.error = error;
    this.reject(error);
  }

  handleReadyForQuery() {
    this.resolve({ tag: this.tag, output: Buffer.concat(this.output).toString() });
  }

  handleRowDescription() {}
  handleDataRow() {}
  handlePortalSuspended() {}
  handleEmptyQuery() {}
}

async function copy(client, text, input, options) {
  const request = new Copy(text, input, options);
  request.done.catch(() => {});
  client.query(request);
  return request.done;
}

scenario("copy", () => connected(async (client) => {
  await withTable(client, "id int, words text", async (name) => {
    const lines = "1\tGrüße 🐘\n2\t\\N\n3\t\n4\ta\\tb\n";
    equal((await copy(client, `COPY ${name} (id, words) FROM STDIN`, [lines])).tag, "COPY 4", "tag");
    equal((await client.query({ text: `SELECT id, words FROM ${name} ORDER BY id`, rowMode: "array" })).rows,
      [[1, "Grüße 🐘"], [2, null], [3, ""], [4, "a\tb"]], "rows");
    equal(await copy(client, `COPY (SELECT id, words FROM ${name} ORDER BY id) TO STDOUT`),
      { tag: "COPY 4", output: lines }, "COPY OUT gives what COPY IN took");
    inContext((await copy(client, `COPY (SELECT ${CONTEXT}) TO STDOUT`)).output.trim(), "context in COPY OUT");
    await client.query("BEGIN");
    const parts = Array.from({ length: 100 }, (_, part) => Array.from({ length: 1000 }, (_, n) => `${part * 1000 + n}\tx\n`).join(""));
    equal((await copy(client, `COPY ${name} (id, words) FROM STDIN`, parts)).tag, "COPY 100000", "large, in a block");
    await checkTenants(client, name, 100004, "large COPY IN");
    equal((await copy(client, `COPY ${name} TO STDOUT`)).output.split("\n").length, 100005, "large COPY OUT");
    await client.query("ROLLBACK");
    await checkTenants(client, name, 4, "rolled back");
  });
}));

scenario("copy_fails", () => connected(async (client) => {
  await withTable(client, "id int", async (name) => {
    const parts = ["1\n".repeat(10000), "not a number\n", "2\n".repeat(10000)];
    const error = await fails("22P02", "bad row", () => copy(client, `COPY ${name} (id) FROM STDIN`, parts));
    yes(error.where.includes("line 10001, column id"), `where: ${error.where}`);
    await checkTenants(client, name, 0, "nothing was copied");
    const given = await fails("57014", "CopyFail", () => copy(client, `COPY ${name} (id) FROM STDIN`, ["1\n"], { failWith: "enough" }));
    equal(given.message, "COPY from stdin failed: enough", "message");
    await checkTenants(client, name, 0, "nothing was copied");
    await fails("22012", "COPY OUT", () => copy(client, "COPY (SELECT 1 / (5000 - n) FROM generate_series(1, 10000) n) TO STDOUT"));
    await checkContext(client, "after the failed COPY OUT");
  });
}));

async function untilAsleep(watcher, marker) {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline && await scalar(watcher, `SELECT count(*)::int FROM pg_stat_activity
    WHERE wait_event = 'PgSleep' AND query LIKE $1 AND pid <> pg_backend_pid()`, [`%${marker}%`]) === 0);
}

/** Sends a CancelRequest with the key that the server, or the proxy, gave this client. */
function sendCancel(client) {
  return new Promise((resolve, reject) => {
    const canceller = new pg.Client({ connectionString: DATABASE_URL });
    const { connection } = canceller;
    connection.on("connect", () => connection.cancel(client.processID, client.secretKey));
    connection.on("error", reject);
    connection.on("end", resolve);
    if (canceller.host?.startsWith("/")) connection.connect(`${canceller.host}/.s.PGSQL.${canceller.port}`);
    else connection.connect(canceller.port, canceller.host);
  });
}

scenario("cancel", () => connected(async (client, watcher) => {
  await withTable(client, "id int", async (name) => {
    const mark = name.split(".")[1];
    const queries = {
      simple: () => client.query(`SELECT pg_sleep(60) /* ${mark}_simple */`),
      extended: () => client.query(`SELECT pg_sleep($1) /* ${mark}_extended */`, [60]),
      block: () => client.query({ name: "sleep", text: `SELECT pg_sleep($1) /* ${mark}_block */`, values: [60] }),
    };
    for (const [way, query] of Object.entries(queries)) {
      if (way === "block") await client.query(`BEGIN; INSERT INTO ${name} VALUES (1)`);
      const outcome = fails("57014", way, query);
      outcome.catch(() => {});
      await untilAsleep(watcher, `${mark}_${way}`);
      await sendCancel(client);
      equal((await outcome).message, "canceling statement due to user request", "message");
      if (way !== "block") await checkContext(client, `after a cancelled ${way} query`);
    }
    await fails("25P02", "the block has failed", () => client.query("SELECT 1"));
    await client.query("ROLLBACK");
    await checkTenants(client, name, 0, "rolled back");
    await client.query("SET statement_timeout = '50ms'");
    await fails("57014", "statement_timeout", () => client.query("SELECT pg_sleep($1)", [60]));
    await client.query("RESET statement_timeout");
    await checkContext(client, "in the end");
  });
}));

scenario("large_values", () => connected(async (client) => {
  await withTable(client, "words text, data bytea", async (name) => {
    const words = `ü${"x".repeat(LARGE - 2)}`;
    const data = Buffer.alloc(LARGE, BYTES);
    const md5 = (value) => createHash("md5").update(value).digest("hex");
    const { rows } = await client.query({
      text: `INSERT INTO ${name} VALUES ($1, $2) RETURNING octet_length(words), md5(words), length(data), md5(data)`,
      values: [words, data], rowMode: "array",
    });
    equal(rows[0], [LARGE, md5(words), LARGE, md5(data)], "what arrived at the server");
    const { rows: [row] } = await client.query(`SELECT words, data, ${CONTEXT} AS context FROM ${name}`);
    yes(row.words === words, "text came back different");
    yes(data.equals(row.data), "bytea came back different");
    inContext(row.context, "large row");
    equal(await scalar(client, `SELECT length('${"y".repeat(LARGE)}')`), LARGE, "large simple query");
    await checkTenants(client, name, 1, "large");
  });
}));

scenario("errors", () => connected(async (client) => {
  const direct = DIRECT_URL ? await connect(DIRECT_URL) : null;
  await withTable(client, "id int PRIMARY KEY", async (name) => {
    await client.query(`INSERT INTO ${name} VALUES (1)`);
    const ways = {
      simple: (target, text) => target.query(text),
      extended: (target, text) => target.query({ text, values: [], queryMode: "extended" }),
      named: (target, text) => target.query({ text, name: createHash("md5").update(text).digest("hex"), values: [] }),
    };
    for (const [way, query] of Object.entries(ways)) {
      for (const [text, sqlstate, message, where] of failingQueries(name)) {
        const error = await fails(sqlstate, text, () => query(client, text));
        equal(error.message, message, `message of ${text}, ${way}`);
        equal(error.position, positionOf(text, where), `position in ${text}, ${way}`);
        await checkContext(client, `after ${text}, ${way}`);
        if (direct && !text.includes(name)) {
          const wanted = await fails(sqlstate, `${text}, direct`, () => query(direct, text));
          equal(errorFields(error), errorFields(wanted), `all fields of ${text}, ${way}, against direct`);
        }
      }
    }
    const violation = await fails("23505", "unique violation", () => client.query(`INSERT INTO ${name} VALUES ($1)`, [1]));
    equal([violation.constraint, violation.detail], [`${name.split(".")[1]}_pkey`, "Key (id)=(1) already exists."], "fields");
    await client.query("BEGIN");
    await fails("22012", "in a block", () => client.query("SELECT 1 / 0"));
    await fails("25P02", "simple query after it", () => client.query("SELECT 1"));
    await fails("25P02", "extended query after it", () => client.query("SELECT $1::int", [1]));
    equal((await client.query("COMMIT")).command, "ROLLBACK", "COMMIT of a failed block");
    await checkContext(client, "after the failed block");
  }).finally(() => direct?.end());
}));

scenario("notices", () => connected(async (client) => {
  const seen = [];
  client.on("notice", (notice) => seen.push([notice.severity, notice.message]));
  await withTable(client, "id int", async (name) => {
    await client.query(`DO $$ BEGIN RAISE NOTICE 'one %', 'ü'; INSERT INTO ${name} VALUES (1); RAISE WARNING 'two'; END $$`);
    await client.query({ text: `DO $$ BEGIN INSERT INTO ${name} VALUES (2); RAISE NOTICE 'three'; END $$`, name: "do" });
    await checkTenants(client, name, 2, "DO");
    equal(seen.splice(0), [["NOTICE", "one ü"], ["WARNING", "two"], ["NOTICE", "three"]], "notices");
    for (let n = 0; n < 3; n += 1) await checkContext(client, "quiet");
    equal(seen, [], "none of somebody else's");
  });
}));

scenario("discard_and_deallocate", () => connected(async (client) => {
  for (const reset of ["DEALLOCATE ALL", "DISCARD ALL"]) {
    for (let turn = 0; turn < 3; turn += 1) {
      const what = `${reset}, turn ${turn}`;
      const statement = { name: `kept_${reset}_${turn}`, text: `SELECT $1::int AS n, ${CONTEXT} AS context`, values: [turn] };
      const { rows: [row] } = await client.query(statement);
      equal(row.n, turn, what);
      inContext(row.context, what);
      await client.query(reset);
      // The driver still believes in the statement; the server has forgotten it.
      const error = await fails("26000", what, () => client.query(statement));
      equal(error.message, `prepared statement "${statement.name}" does not exist`, "message");
      await checkContext(client, what);
    }
  }
  await client.query("SET TIME ZONE 'Asia/Tokyo'");
  await client.query("DISCARD ALL");
  yes(await scalar(client, "SHOW TimeZone") !== "Asia/Tokyo", "time zone after DISCARD ALL");
}));

scenario("several_statements_in_one_query", () => connected(async (client) => {
  await withTable(client, "id int", async (name) => {
    const results = await client.query(`SELECT ${CONTEXT} AS c; BEGIN; INSERT INTO ${name} VALUES (1); SELECT ${CONTEXT} AS c; COMMIT;
      SELECT ${CONTEXT} AS c; BEGIN; INSERT INTO ${name} VALUES (2); ROLLBACK; SELECT ${CONTEXT} AS c, 'a;b'`);
    equal(results.map((result) => result.command),
      ["SELECT", "BEGIN", "INSERT", "SELECT", "COMMIT", "SELECT", "BEGIN", "INSERT", "ROLLBACK", "SELECT"], "tags");
    for (const { rows: [row] } of results) if (row) inContext(row.c, "SELECT in the string");
    await fails("22012", "in the middle", () => client.query(`INSERT INTO ${name} VALUES (3); SELECT 1 / 0; SELECT 1`));
    await client.query(`BEGIN; SAVEPOINT s; INSERT INTO ${name} VALUES (4); ROLLBACK TO s; INSERT INTO ${name} VALUES (5)`);
    await checkContext(client, "in the open block");
    await client.query(`COMMIT; INSERT INTO ${name} VALUES (6)`);
    equal(await ids(client, name), [1, 5, 6], "rows");
    await checkTenants(client, name, 3, "in the end");
  });
}));

scenario("server_side_cursors", () => connected(async (client) => {
  await client.query("BEGIN");
  await client.query(`DECLARE c CURSOR FOR SELECT n, ${CONTEXT} AS context FROM generate_series(1, 1000) n`);
  const seen = [];
  for (;;) {
    const { rows } = await client.query("FETCH 100 FROM c");
    if (rows.length === 0) break;
    seen.push(...rows.map((row) => row.n));
    inContext(rows[0].context, `row ${rows[0].n}`);
    await checkContext(client, "between two fetches");
  }
  equal(seen, Array.from({ length: 1000 }, (_, n) => n + 1), "rows");
  await client.query("COMMIT");
  await fails("34000", "the cursor went with the block", () => client.query("FETCH 1 FROM c"));
  // A row-limited Execute: the portal is suspended and taken up again.
  const limited = await client.query({ text: `SELECT n, ${CONTEXT} AS context FROM generate_series(1, 10) n`, values: [], rows: 3 });
  equal(limited.rows.map((row) => row.n), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "row-limited Execute");
  inContext(limited.rows[9].context, "row-limited Execute");
}));

scenario("parameter_changes", () => connected(async (tokyo, utc) => {
  const moment = "SELECT '2024-07-01 12:00+00'::timestamptz::text";
  const reported = {};
  tokyo.connection.on("parameterStatus", ({ parameterName, parameterValue }) => { reported[parameterName] = parameterValue; });
  await tokyo.query("SET TIME ZONE 'Asia/Tokyo'");
  equal(reported, { TimeZone: "Asia/Tokyo" }, "reported");
  await utc.query("SET TIME ZONE 'UTC'; SET DateStyle = 'German, DMY'");
  for (let turn = 0; turn < 5; turn += 1) {
    equal(await scalar(tokyo, moment), "2024-07-01 21:00:00+09", `Tokyo, turn ${turn}`);
    equal(await scalar(utc, moment, []), "01.07.2024 12:00:00 UTC", `UTC and German, turn ${turn}`);
    for (const client of [tokyo, utc]) await checkContext(client, `turn ${turn}`);
  }
  await tokyo.query("BEGIN");
  await tokyo.query("SET LOCAL TIME ZONE 'UTC'");
  equal(await scalar(tokyo, moment), "2024-07-01 12:00:00+00", "SET LOCAL");
  await checkContext(tokyo, "with SET LOCAL");
  await tokyo.query("COMMIT");
  equal(await scalar(tokyo, moment), "2024-07-01 21:00:00+09", "after SET LOCAL");
  equal(reported, { TimeZone: "Asia/Tokyo" }, "reported after SET LOCAL");
}));

scenario("two_tenants_interleaved", async () => {
  if (!OTHER_URL) skip("OTHER_URL is not set");
  const sides = [["first", DATABASE_URL, EXPECT], ["second", OTHER_URL, OTHER_EXPECT]]
    .map(([label, url, want]) => ({ label, want, pool: new pg.Pool({ connectionString: url, max: 4 }) }));
  try {
    await Promise.all(Array.from({ length: 16 }, async (_, number) => {
      const { label, want, pool } = sides[number % 2];
      for (let turn = 0; turn < 25; turn += 1) {
        const what = `${label} tenant, client ${number}, turn ${turn}`;
        const { rows: [row] } = await pool.query({ name: "turn", text: `SELECT $1::int AS n, ${CONTEXT} AS context`, values: [turn] });
        equal(row.n, turn, what);
        inContext(row.context, what, want);
        const client = await pool.connect();
        try {
          await client.query("BEGIN");
          inContext(await scalar(client, `SELECT ${CONTEXT}`), `${what}, in a block`, want);
          if (turn % 5 === 0) await fails("22012", what, () => client.query("SELECT 1 / 0"));
          await client.query(turn % 3 ? "COMMIT" : "ROLLBACK");
          inContext(await scalar(client, `SELECT ${CONTEXT}`), `${what}, simple`, want);
        } finally {
          client.release();
        }
      }
    }));
  } finally {
    await Promise.all(sides.map(({ pool }) => pool.end()));
  }
});

scenario("session_state", async () => {
  if (!SESSION_POOLING) skip("needs POOL_MODE=session");
  await connected(async (client, other) => {
    const name = newTable().split(".")[1];
    await client.query(`CREATE TEMPORARY TABLE ${name} AS SELECT 7 AS id`);
    equal(await scalar(client, `SELECT id FROM ${name}`), 7, "temporary table");
    await client.query(`DROP TABLE ${name}`);
    const heard = new Promise((resolve) => client.once("notification", resolve));
    await client.query(`LISTEN ${name}`);
    await other.query(`NOTIFY ${name}, 'hello'`);
    const { channel, payload } = await heard;
    equal([channel, payload], [name, "hello"], "notification");
    const key = process.pid;
    equal(await scalar(client, "SELECT pg_try_advisory_lock($1)", [key]), true, "advisory lock");
    equal(await scalar(other, "SELECT pg_try_advisory_lock($1)", [key]), false, "held against others");
    equal(await scalar(client, "SELECT pg_advisory_unlock($1)", [key]), true, "unlocked");
    await client.query("BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 3) AS n; COMMIT");
    equal((await client.query("FETCH ALL FROM held")).rows, [{ n: 1 }, { n: 2 }, { n: 3 }], "cursor WITH HOLD");
    await client.query("CLOSE held");
    await checkContext(client, "in a session");
  });
});

await run();
