// Scenarios for postgres.js (`postgres`). How to run them, and what the environment means: scenario.mjs.

import { createHash } from "node:crypto";
import { Readable, Writable } from "node:stream";
import { pipeline as pipe } from "node:stream/promises";
import postgres from "postgres";
import {
  BYTES, CONTEXT, DATABASE_URL, DIRECT_URL, EXPECT, LARGE, OTHER_EXPECT, OTHER_URL, SESSION_POOLING, TEXT, equal, errorFields,
  failingQueries, fails, inContext, newTable, positionOf, run, scenario, skip, yes,
} from "./scenario.mjs";

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
  ["int4[]", [1, -2, 3], [1, -2, 3], "{1,-2,3}"], // the driver does not read NULL in arrays
  ["text[]", ["a,b", 'c"d', ""], ["a,b", 'c"d', ""], '{"a,b","c\\"d",""}'],
  ["timestamptz", new Date("2024-02-29T23:59:59.123Z"), new Date("2024-02-29T23:59:59.123Z"), "2024-02-29 23:59:59.123+00"],
  ["uuid", "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000001"],
  ["int4", null, null, null],
  ["text", null, null, null],
];

/** Runs `action` with a pool, by default of one connection, and closes it. */
async function connected(action, options = {}, url = DATABASE_URL) {
  const sql = postgres(url, { max: 1, onnotice: () => {}, ...options });
  try {
    await action(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** A table for one scenario. Rows note by themselves which tenant they were written for. */
async function withTable(sql, columns, action) {
  const name = newTable();
  await sql.unsafe(`CREATE TABLE ${name} (${columns}, tenant text DEFAULT ${CONTEXT})`);
  try {
    await action(name);
  } finally {
    await sql.unsafe(`DROP TABLE IF EXISTS ${name}`);
  }
}

const context = (sql) => sql.unsafe(CONTEXT);
const scalar = async (sql, text) => Object.values((await sql.unsafe(text))[0])[0];

async function checkContext(sql, what) {
  inContext((await sql`SELECT ${context(sql)} AS context`)[0].context, `${what}, extended`);
  inContext((await sql`SELECT ${context(sql)} AS context`.simple())[0].context, `${what}, simple`);
}

/** Checks that a table holds `count` rows, all written for the expected tenant. */
async function checkTenants(sql, name, count, what) {
  const rows = [...await sql`SELECT tenant, count(*)::int AS count FROM ${sql(name)} GROUP BY tenant`];
  equal(rows.reduce((sum, row) => sum + row.count, 0), count, `${what}: rows`);
  if (EXPECT !== undefined && count > 0) equal(rows, [{ tenant: EXPECT, count }], `${what}: tenants of the rows`);
}

async function ids(sql, name) {
  return (await sql`SELECT id FROM ${sql(name)} ORDER BY id`).map((row) => row.id);
}

scenario("connects", async () => {
  await connected(async (sql) => {
    equal((await sql`SELECT 1 AS one`)[0].one, 1, "first query");
    await checkContext(sql, "first transaction");
  });
  await connected(async (sql) => {
    await Promise.all(Array.from({ length: 8 }, (_, n) => checkContext(sql, `connection ${n}`)));
  }, { max: 8 });
});

scenario("server_parameters", () => connected(async (sql) => {
  await sql`SELECT 1`;
  for (const name of ["server_version", "server_encoding", "client_encoding", "is_superuser", "session_authorization", "DateStyle",
    "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "application_name"]) {
    equal(sql.parameters[name], await scalar(sql, `SHOW ${name}`), `reported ${name} against SHOW`);
  }
  equal(sql.parameters.application_name, "pgw scenario", "application_name");
  await checkContext(sql, "after SHOW");
}, { connection: { application_name: "pgw scenario" } }));

async function checkValues(sql, what) {
  for (const [type, value, back, text] of VALUES) {
    const parameter = type === "jsonb" ? sql.json(value) : value;
    const cast = sql.unsafe(`::${type}`);
    const [row] = await sql`SELECT ${parameter}${cast} AS value, (${parameter}${cast})::text AS text, ${context(sql)} AS context`;
    equal(row.value, back, `${what}: ${type}`);
    equal(row.text, text, `${what}: ${type} as the server writes it`);
    inContext(row.context, `${what}: ${type}`);
  }
}

scenario("types_in_simple_queries", () => connected(async (sql) => {
  await sql.unsafe("SET TIME ZONE 'UTC'");
  for (const [type, , back, text] of VALUES) {
    const literal = text === null ? "NULL" : `'${text.replaceAll("'", "''")}'`;
    const [row] = await sql.unsafe(`SELECT ${literal}::${type} AS value, ${CONTEXT} AS context`).simple();
    equal(row.value, back, type);
    inContext(row.context, type);
  }
}));

scenario("types_in_extended_queries", () => connected(async (sql) => {
  await sql.unsafe("SET TIME ZONE 'UTC'");
  await checkValues(sql, "unnamed");
}, { prepare: false }));

scenario("types_in_prepared_statements", () => connected(async (sql) => {
  await sql.unsafe("SET TIME ZONE 'UTC'");
  for (const attempt of [0, 1, 2]) await checkValues(sql, `attempt ${attempt}`);
}));

scenario("types_by_introspection", () => connected(async (sql) => {
  // The driver reads pg_type on connect to learn about arrays; an array of a type made later comes back as text.
  const [row] = await sql`SELECT ${[1, 2, 3]}::int[] AS numbers, ${["a", "ü"]}::text[] AS words, ${context(sql)} AS context`;
  equal([row.numbers, row.words], [[1, 2, 3], ["a", "ü"]], "arrays");
  inContext(row.context, "arrays");
  const described = await sql`SELECT ${1}::int AS n, ${context(sql)} AS context`.describe();
  equal([described.types, described.columns.map((column) => column.name)], [[23], ["n", "context"]], "Describe without Execute");
  await checkContext(sql, "after Describe");
}));

scenario("result_shapes", () => connected(async (sql) => {
  equal([...await sql`SELECT n, n * n FROM generate_series(1, 1000) AS n`.values()].map((row) => [...row]),
    Array.from({ length: 1000 }, (_, n) => [n + 1, (n + 1) ** 2]), "1,000 rows");
  equal([...await sql`SELECT 1 WHERE false`], [], "no rows");
  const result = await sql`VALUES (1), (2)`;
  equal([result.command, result.count], ["SELECT", 2], "command tag");
  const rows = await sql`SELECT ${context(sql)} AS context FROM generate_series(1, ${100}::int)`;
  equal(rows.length, 100, "rows");
  for (const row of rows) inContext(row.context, "every row");
}));

scenario("prepared_across_transactions", () => connected(async (sql) => {
  for (let n = 0; n < 50; n += 1) {
    const query = (on) => on`SELECT ${n}::int + 1 AS next, ${context(on)} AS context`;
    const [row] = n % 2 ? await sql.begin(query) : await query(sql);
    equal(row.next, n + 1, `transaction ${n}`);
    inContext(row.context, `transaction ${n}`);
  }
}));

scenario("prepared_in_a_pool", () => connected(async (sql) => {
  await Promise.all(Array.from({ length: 48 }, async (_, number) => {
    for (let turn = 0; turn < 10; turn += 1) {
      const what = `client ${number}, turn ${turn}`;
      const [row] = await sql`SELECT ${number * 100 + turn}::int AS number, ${context(sql)} AS context`;
      equal(row.number, number * 100 + turn, what);
      inContext(row.context, what);
      const own = await sql.begin(async (inside) => {
        const first = await inside`SELECT ${inside.unsafe(`'only ${number}'`)} || ${"!"}::text AS words, ${context(inside)} AS context`;
        const again = await inside`SELECT ${inside.unsafe(`'only ${number}'`)} || ${"?"}::text AS words, ${context(inside)} AS context`;
        return [first[0], again[0]];
      });
      equal(own.map((each) => each.words), [`only ${number}!`, `only ${number}?`], `own statement of ${what}`);
      for (const each of own) inContext(each.context, `own statement of ${what}`);
    }
  }));
}, { max: 12 }));

scenario("prepared_and_altered", () => connected(async (sql) => {
  await withTable(sql, "id int", async (name) => {
    await sql`INSERT INTO ${sql(name)} VALUES (1)`;
    const star = () => sql`SELECT * FROM ${sql(name)} WHERE id = ${1}`;
    equal(Object.keys((await star())[0]), ["id", "tenant"], "columns before");
    await sql.unsafe(`ALTER TABLE ${name} ADD COLUMN extra int DEFAULT 7`);
    // The driver prepares again by itself after 0A000 (its own list of retried routines).
    const [row] = await star().catch((error) => {
      equal([error.code, error.message], ["0A000", "cached plan must not change result type"], "error of the old statement");
      return star();
    });
    equal({ ...row }, { id: 1, tenant: row.tenant, extra: 7 }, "columns after");
    inContext(row.tenant, "tenant of the row");
  });
}));

scenario("pipelining", () => connected(async (sql) => {
  await withTable(sql, "id int", async (name) => {
    // One connection: what is sent at once goes out without waiting for replies.
    const replies = await Promise.all(Array.from({ length: 500 }, (_, n) => sql`SELECT ${n}::int AS n, ${context(sql)} AS context`));
    replies.forEach(([row], n) => {
      equal(row.n, n, `reply ${n}`);
      inContext(row.context, `reply ${n}`);
    });
    const outcomes = await Promise.allSettled([
      sql`INSERT INTO ${sql(name)} VALUES (${1})`, sql`SELECT 1 / ${0}::int`, sql`INSERT INTO ${sql(name)} VALUES (${2})`,
      sql`SELECT 'x'::int`.simple(), sql`INSERT INTO ${sql(name)} VALUES (3)`.simple(),
    ]);
    equal(outcomes.map((outcome) => outcome.reason?.code ?? outcome.value.command), ["INSERT", "22012", "INSERT", "22P02", "INSERT"],
      "outcomes");
    // In a block, all at once as well.
    const inside = await sql.begin((on) => Array.from({ length: 50 }, (_, n) => on`INSERT INTO ${on(name)} VALUES (${n + 10}) RETURNING tenant`));
    for (const [row] of inside) inContext(row.tenant, "pipelined in a block");
    equal((await ids(sql, name)).length, 53, "rows");
    await checkTenants(sql, name, 53, "pipelined");
  });
}));

scenario("isolation_levels", () => connected(async (sql) => {
  await withTable(sql, "id int", async (name) => {
    for (const level of ["read uncommitted", "read committed", "repeatable read", "serializable"]) {
      await sql.begin(`ISOLATION LEVEL ${level}`, async (on) => {
        await checkContext(on, level);
        equal(await scalar(on, "SHOW transaction_isolation"), level, "BEGIN ISOLATION LEVEL");
      });
    }
    await fails("25006", "write", () => sql.begin("READ ONLY", async (on) => {
      await checkContext(on, "read only");
      await on`INSERT INTO ${on(name)} VALUES (${1})`;
    }));
    await sql.begin(async (on) => {
      await on`SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE`;
      await checkContext(on, "after SET TRANSACTION");
      equal(await scalar(on, "SHOW transaction_isolation"), "serializable", "SET TRANSACTION");
    });
    await fails("25001", "SET TRANSACTION behind a query", () => sql.begin(async (on) => {
      await on`SELECT ${1}::int`;
      await on`SET TRANSACTION ISOLATION LEVEL SERIALIZABLE`;
    }));
    await checkTenants(sql, name, 0, "nothing written");
  });
}));

scenario("commit_and_rollback", () => connected(async (sql) => {
  await withTable(sql, "id int", async (name) => {
    await sql.begin(async (on) => {
      await on`INSERT INTO ${on(name)} VALUES (${1})`;
      await checkContext(on, "in the block");
      equal(await ids(sql, name), [], "not visible to another connection before COMMIT");
    });
    equal(await ids(sql, name), [1], "visible after COMMIT");
    class OwnError extends Error {}
    const error = await sql.begin(async (on) => {
      await on`DELETE FROM ${on(name)}`;
      throw new OwnError();
    }).catch((caught) => caught);
    yes(error instanceof OwnError, "the application's own error comes back");
    await checkTenants(sql, name, 1, "after ROLLBACK");
    const reserved = await sql.reserve();
    try {
      await reserved`BEGIN`;
      await reserved`INSERT INTO ${reserved(name)} VALUES (${2})`;
      await reserved`COMMIT AND CHAIN`;
      await checkContext(reserved, "after COMMIT AND CHAIN");
      await reserved`INSERT INTO ${reserved(name)} VALUES (${3})`;
      await reserved`ROLLBACK`;
    } finally {
      reserved.release();
    }
    equal(await ids(sql, name), [1, 2], "rows");
    await checkTenants(sql, name, 2, "in the end");
  });
}, { max: 2 }));

scenario("savepoints", () => connected(async (sql) => {
  await withTable(sql, "id int", async (name) => {
    await sql.begin(async (on) => {
      for (let n = 0; n < 3; n += 1) {
        await fails("22012", "error behind a savepoint", () => on.savepoint(async (inner) => {
          await inner`INSERT INTO ${inner(name)} VALUES (${10})`;
          await inner`SELECT 1 / ${0}::int`;
        }));
        await checkContext(on, `after ROLLBACK TO ${n}`);
        await on.savepoint(async (inner) => {
          await checkContext(inner, "inner");
          await inner`INSERT INTO ${inner(name)} VALUES (${n})`;
        });
        await checkContext(on, `after inner transaction ${n}`);
      }
    });
    equal(await ids(sql, name), [0, 1, 2], "rows");
    await checkTenants(sql, name, 3, "nested");
    await sql.begin(async (on) => {
      await on`SAVEPOINT first`;
      await checkContext(on, "behind the savepoint");
      await on`ROLLBACK TO first`;
      await checkContext(on, "after ROLLBACK TO");
      await on`INSERT INTO ${on(name)} VALUES (${3})`;
    });
    await checkTenants(sql, name, 4, "in the end");
  });
}));

async function copyIn(sql, text, parts) {
  await pipe(Readable.from(parts), await sql.unsafe(text).writable());
}

async function copyOut(sql, text) {
  const chunks = [];
  await pipe(await sql.unsafe(text).readable(), new Writable({
    write(chunk, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  }));
  return Buffer.concat(chunks).toString();
}

scenario("copy", () => connected(async (sql) => {
  await withTable(sql, "id int, words text", async (name) => {
    const lines = "1\tGrüße 🐘\n2\t\\N\n3\t\n4\ta\\tb\n";
    await copyIn(sql, `COPY ${name} (id, words) FROM STDIN`, [Buffer.from(lines)]);
    equal([...await sql`SELECT id, words FROM ${sql(name)} ORDER BY id`.values()].map((row) => [...row]),
      [[1, "Grüße 🐘"], [2, null], [3, ""], [4, "a\tb"]], "rows");
    equal(await copyOut(sql, `COPY (SELECT id, words FROM ${name} ORDER BY id) TO STDOUT`), lines, "COPY OUT gives what COPY IN took");
    inContext((await copyOut(sql, `COPY (SELECT ${CONTEXT}) TO STDOUT`)).trim(), "context in COPY OUT");
    const parts = Array.from({ length: 100 }, (_, part) => Buffer.from(
      Array.from({ length: 1000 }, (_, n) => `${part * 1000 + n}\t${"x".repeat(50)}\n`).join("")));
    await copyIn(sql, `COPY ${name} (id, words) FROM STDIN`, parts);
    await checkTenants(sql, name, 100004, "large COPY IN");
    equal((await copyOut(sql, `COPY ${name} (id) TO STDOUT`)).split("\n").length, 100005, "large COPY OUT");
    await checkContext(sql, "after COPY");
  });
}));

scenario("copy_fails", () => connected(async (sql) => {
  await withTable(sql, "id int", async (name) => {
    // The driver does not tell its stream about an error of the server, so nobody waits for the stream here.
    const refused = await sql.unsafe(`COPY ${name} (id) FROM STDIN`).writable();
    for (const part of ["1\n".repeat(1000), "not a number\n"]) refused.write(part);
    await new Promise((resolve) => refused.write("2\n".repeat(1000), resolve));
    refused.end();
    await new Promise(setImmediate);
    await checkTenants(sql, name, 0, "nothing was copied");
    await checkContext(sql, "after the refused COPY");
    // CopyFail from the client.
    const stream = await sql.unsafe(`COPY ${name} (id) FROM STDIN`).writable();
    const closed = new Promise((resolve) => stream.once("close", resolve));
    stream.on("error", () => {});
    stream.write("1\n".repeat(1000));
    stream.destroy(new Error("enough"));
    await closed;
    await checkTenants(sql, name, 0, "nothing was copied");
    await checkContext(sql, "after the failed COPY");
  });
}));

scenario("cancel", () => connected(async (sql) => {
  await withTable(sql, "id int", async (name) => {
    const mark = name.split(".")[1];
    const queries = {
      simple: (on) => on.unsafe(`SELECT pg_sleep(60) /* ${mark}_simple */`).simple(),
      extended: (on) => on.unsafe(`SELECT pg_sleep($1) /* ${mark}_extended */`, [60]),
    };
    await connected(async (watcher) => {
      const cancelled = async (on, way) => {
        const query = queries[way](on);
        const outcome = fails("57014", way, () => query);
        outcome.catch(() => {});
        const deadline = Date.now() + 30_000;
        while (Date.now() < deadline && (await watcher`SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'
          AND query LIKE ${`%${mark}_${way}%`} AND pid <> pg_backend_pid()`).count === 0);
        query.cancel();
        equal((await outcome).message, "canceling statement due to user request", "message");
      };
      for (const way of Object.keys(queries)) {
        await cancelled(sql, way);
        await checkContext(sql, `after a cancelled ${way} query`);
      }
      const reserved = await sql.reserve();
      try {
        await reserved`BEGIN`;
        await reserved`INSERT INTO ${reserved(name)} VALUES (${1})`;
        await cancelled(reserved, "extended");
        await fails("25P02", "the block has failed", () => reserved`SELECT ${1}::int`);
        await reserved`ROLLBACK`;
      } finally {
        reserved.release();
      }
      await checkTenants(sql, name, 0, "rolled back");
    });
  });
}));

scenario("large_values", () => connected(async (sql) => {
  await withTable(sql, "words text, data bytea", async (name) => {
    const words = `ü${"x".repeat(LARGE - 2)}`;
    const data = Buffer.alloc(LARGE, BYTES);
    const md5 = (value) => createHash("md5").update(value).digest("hex");
    const [arrived] = await sql`INSERT INTO ${sql(name)} VALUES (${words}, ${data})
      RETURNING octet_length(words) AS a, md5(words) AS b, length(data) AS c, md5(data) AS d`;
    equal({ ...arrived }, { a: LARGE, b: md5(words), c: LARGE, d: md5(data) }, "what arrived at the server");
    const [row] = await sql`SELECT words, data, ${context(sql)} AS context FROM ${sql(name)}`;
    yes(row.words === words, "text came back different");
    yes(data.equals(row.data), "bytea came back different");
    inContext(row.context, "large row");
    equal(await scalar(sql, `SELECT length('${"y".repeat(LARGE)}')`), LARGE, "large simple query");
    await checkTenants(sql, name, 1, "large");
  });
}));

scenario("errors", () => connected(async (sql) => {
  const direct = DIRECT_URL ? postgres(DIRECT_URL, { max: 1 }) : null;
  await withTable(sql, "id int PRIMARY KEY", async (name) => {
    await sql`INSERT INTO ${sql(name)} VALUES (1)`;
    const ways = {
      simple: (on, text) => on.unsafe(text).simple(),
      extended: (on, text) => on.unsafe(text, [], { prepare: false }),
      prepared: (on, text) => on.unsafe(text, [], { prepare: true }),
    };
    for (const [way, query] of Object.entries(ways)) {
      for (const [text, sqlstate, message, where] of failingQueries(name)) {
        const error = await fails(sqlstate, text, () => query(sql, text));
        equal(error.message, message, `message of ${text}, ${way}`);
        equal(error.position, positionOf(text, where), `position in ${text}, ${way}`);
        await checkContext(sql, `after ${text}, ${way}`);
        if (direct && !text.includes(name)) {
          const wanted = await fails(sqlstate, `${text}, direct`, () => query(direct, text));
          equal(errorFields(error), errorFields(wanted), `all fields of ${text}, ${way}, against direct`);
        }
      }
    }
    const violation = await fails("23505", "unique violation", () => sql`INSERT INTO ${sql(name)} VALUES (${1})`);
    equal([violation.constraint_name, violation.detail], [`${name.split(".")[1]}_pkey`, "Key (id)=(1) already exists."], "fields");
    const reserved = await sql.reserve();
    try {
      await reserved`BEGIN`;
      await fails("22012", "in a block", () => reserved`SELECT 1 / ${0}::int`);
      await fails("25P02", "extended query after it", () => reserved`SELECT ${1}::int`);
      await fails("25P02", "simple query after it", () => reserved`SELECT 1`.simple());
      equal((await reserved`COMMIT`).command, "ROLLBACK", "COMMIT of a failed block");
    } finally {
      reserved.release();
    }
    await checkContext(sql, "after the failed block");
  }).finally(() => direct?.end());
}));

scenario("notices", async () => {
  const seen = [];
  await connected(async (sql) => {
    await withTable(sql, "id int", async (name) => {
      await sql.unsafe(`DO $$ BEGIN RAISE NOTICE 'one %', 'ü'; INSERT INTO ${name} VALUES (1); RAISE WARNING 'two'; END $$`).simple();
      await sql.unsafe(`DO $$ BEGIN INSERT INTO ${name} VALUES (2); RAISE NOTICE 'three'; END $$`, [], { prepare: true });
      await checkTenants(sql, name, 2, "DO");
      equal(seen, [["NOTICE", "one ü"], ["WARNING", "two"], ["NOTICE", "three"]], "notices, and none of somebody else's");
    });
  }, { onnotice: (notice) => seen.push([notice.severity, notice.message]) });
});

scenario("discard_and_deallocate", () => connected(async (sql) => {
  for (const reset of ["DEALLOCATE ALL", "DISCARD ALL"]) {
    for (let turn = 0; turn < 3; turn += 1) {
      const what = `${reset}, turn ${turn}`;
      const query = () => sql.unsafe(`SELECT $1::int AS n, ${CONTEXT} AS context /* ${what} */`, [turn], { prepare: true });
      equal((await query())[0].n, turn, what);
      await sql.unsafe(reset);
      // The driver still believes in the statement, the server has forgotten it; postgres.js prepares again by itself.
      const [row] = await query().catch((error) => {
        equal(error.code, "26000", `${what}: error of the forgotten statement`);
        return query();
      });
      equal(row.n, turn, `${what}, prepared again`);
      inContext(row.context, `${what}, prepared again`);
    }
  }
  await sql.unsafe("SET TIME ZONE 'Asia/Tokyo'");
  await sql.unsafe("DISCARD ALL");
  yes(await scalar(sql, "SHOW TimeZone") !== "Asia/Tokyo", "time zone after DISCARD ALL");
  await checkContext(sql, "in the end");
}));

scenario("several_statements_in_one_query", () => connected(async (sql) => {
  await withTable(sql, "id int", async (name) => {
    const results = await sql.unsafe(`SELECT ${CONTEXT} AS c, 1 AS n; BEGIN; SELECT ${CONTEXT} AS c, 2 AS n; COMMIT;
      SELECT ${CONTEXT} AS c, 3 AS n; BEGIN; SELECT ${CONTEXT} AS c, 4 AS n; ROLLBACK; SELECT ${CONTEXT} AS c, 5 AS n, 'a;b'`);
    equal(results.map(([row]) => row.n), [1, 2, 3, 4, 5], "results");
    for (const [row] of results) inContext(row.c, `SELECT ${row.n} of the string`);
    await sql.unsafe(`BEGIN; INSERT INTO ${name} VALUES (1); COMMIT; BEGIN; INSERT INTO ${name} VALUES (2); ROLLBACK`);
    await fails("22012", "in the middle", () => sql.unsafe(`INSERT INTO ${name} VALUES (3); SELECT 1 / 0; SELECT 1`));
    equal(await ids(sql, name), [1], "rows");
    await checkTenants(sql, name, 1, "in the end");
  });
}));

scenario("server_side_cursors", () => connected(async (sql) => {
  // A cursor of this driver is a row-limited Execute: between two parts the portal is suspended.
  const seen = [];
  for await (const rows of sql`SELECT n, ${context(sql)} AS context FROM generate_series(1, ${1000}::int) n`.cursor(100)) {
    seen.push(...rows.map((row) => row.n));
    inContext(rows[0].context, `row ${rows[0].n}`);
  }
  equal(seen, Array.from({ length: 1000 }, (_, n) => n + 1), "rows");
  for await (const rows of sql`SELECT generate_series(1, 1000) AS n`.cursor(10)) {
    equal(rows.length, 10, "first part");
    break; // closes the portal early
  }
  await checkContext(sql, "after a cursor that was left early");
  await sql.begin(async (on) => {
    await on.unsafe(`DECLARE c CURSOR FOR SELECT n, ${CONTEXT} AS context FROM generate_series(1, 10) n`);
    equal((await on`FETCH 1 FROM c`)[0].n, 1, "FETCH");
    await checkContext(on, "between two fetches");
    const rest = await on`FETCH ALL FROM c`;
    equal(rest.map((row) => row.n), [2, 3, 4, 5, 6, 7, 8, 9, 10], "FETCH ALL");
    inContext(rest[8].context, "FETCH ALL");
  });
}));

scenario("parameter_changes", async () => {
  const moment = "SELECT '2024-07-01 12:00+00'::timestamptz::text AS moment";
  await connected(async (tokyo) => {
    await connected(async (utc) => {
      await tokyo.unsafe("SET TIME ZONE 'Asia/Tokyo'");
      await utc.unsafe("SET TIME ZONE 'UTC'; SET DateStyle = 'German, DMY'");
      equal([tokyo.parameters.TimeZone, utc.parameters.TimeZone, utc.parameters.DateStyle], ["Asia/Tokyo", "UTC", "German, DMY"], "reported");
      for (let turn = 0; turn < 5; turn += 1) {
        equal(await scalar(tokyo, moment), "2024-07-01 21:00:00+09", `Tokyo, turn ${turn}`);
        equal(await scalar(utc, moment), "01.07.2024 12:00:00 UTC", `UTC and German, turn ${turn}`);
        for (const sql of [tokyo, utc]) await checkContext(sql, `turn ${turn}`);
      }
      await tokyo.begin(async (on) => {
        await on`SET LOCAL TIME ZONE 'UTC'`;
        equal(await scalar(on, moment), "2024-07-01 12:00:00+00", "SET LOCAL");
        await checkContext(on, "with SET LOCAL");
      });
      equal(await scalar(tokyo, moment), "2024-07-01 21:00:00+09", "after SET LOCAL");
      equal(tokyo.parameters.TimeZone, "Asia/Tokyo", "reported after SET LOCAL");
    });
  });
  await connected(async (sql) => {
    equal(await scalar(sql, moment), "2024-07-01 08:00:00-04", "time zone from the startup packet");
    await checkContext(sql, "with startup parameters");
  }, { connection: { TimeZone: "America/New_York" } });
});

scenario("two_tenants_interleaved", async () => {
  if (!OTHER_URL) skip("OTHER_URL is not set");
  await connected((first) => connected(async (second) => {
    const sides = [["first", first, EXPECT], ["second", second, OTHER_EXPECT]];
    await Promise.all(Array.from({ length: 16 }, async (_, number) => {
      const [label, sql, want] = sides[number % 2];
      for (let turn = 0; turn < 25; turn += 1) {
        const what = `${label} tenant, client ${number}, turn ${turn}`;
        const [row] = await sql`SELECT ${turn}::int AS n, ${context(sql)} AS context`;
        equal(row.n, turn, what);
        inContext(row.context, what, want);
        const inside = sql.begin(async (on) => {
          inContext((await on`SELECT ${context(on)} AS context`)[0].context, `${what}, in a block`, want);
          if (turn % 5 === 0) await on`SELECT 1 / ${0}::int`;
        });
        await (turn % 5 === 0 ? fails("22012", what, () => inside) : inside);
        inContext((await sql`SELECT ${context(sql)} AS context`.simple())[0].context, `${what}, simple`, want);
      }
    }));
  }, { max: 4 }, OTHER_URL), { max: 4 });
});

scenario("session_state", async () => {
  if (!SESSION_POOLING) skip("needs POOL_MODE=session");
  await connected((sql) => connected(async (other) => {
    const name = newTable().split(".")[1];
    await sql.unsafe(`CREATE TEMPORARY TABLE ${name} AS SELECT 7 AS id`);
    equal(await scalar(sql, `SELECT id FROM ${name}`), 7, "temporary table");
    await sql.unsafe(`DROP TABLE ${name}`);
    let hear;
    const heard = new Promise((resolve) => { hear = resolve; });
    const { unlisten } = await sql.listen(name, hear); // on a connection of its own
    await other.notify(name, "hello");
    equal(await heard, "hello", "notification");
    await unlisten();
    const key = process.pid;
    equal(await scalar(sql, `SELECT pg_try_advisory_lock(${key})`), true, "advisory lock");
    equal(await scalar(other, `SELECT pg_try_advisory_lock(${key})`), false, "held against others");
    equal(await scalar(sql, `SELECT pg_advisory_unlock(${key})`), true, "unlocked");
    await sql.begin((on) => on.unsafe("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 3) AS n"));
    equal((await sql`FETCH ALL FROM held`).map((row) => row.n), [1, 2, 3], "cursor WITH HOLD");
    await sql.unsafe("CLOSE held");
    await checkContext(sql, "in a session");
  }));
});

await run();
