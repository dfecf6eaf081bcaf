// Knex as two tenants. How to run it, and what the environment means: scenario.mjs.

import knex from "knex";
import { CONTEXT, DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, equal, fails, run, scenario, skip, yes } from "./scenario.mjs";

// Six connections of each in front of four backends.
function knexFor(url, options = {}) {
  return knex({ client: "pg", connection: url, pool: { min: 0, max: 6 }, ...options });
}

const TENANTS = [
  { name: "acme", db: knexFor(DATABASE_URL), url: DATABASE_URL, org: EXPECT },
  { name: "globex", db: knexFor(OTHER_URL), url: OTHER_URL, org: OTHER_EXPECT },
];
const ACME = TENANTS[0].db;

async function context(db) {
  return (await db.raw(`SELECT ${CONTEXT} AS value`)).rows[0].value;
}

async function each(action) {
  for (const tenant of TENANTS) await action(tenant);
}

scenario("connects", () => each(async ({ db, org }) => equal(await context(db), org, "context")));

scenario("reads", async () => {
  for (let round = 0; round < 5; round += 1) {
    await each(async ({ name, db, org }) => {
      equal(await db("notes").whereLike("body", "%: first").pluck("body"), [`${name}: first`], "rows");
      equal(await db("notes").distinct("org_id").pluck("org_id"), [org], "tenants of the rows");
    });
  }
});

scenario("writes", async () => {
  await each(async ({ name, db, org }) => {
    const [note] = await db("notes").insert({ body: `${name}: written` }, "*");
    equal(note.org_id, org, "tenant of the row");
    await db("notes").insert({ id: note.id, body: `${name}: written twice` }).onConflict("id").merge(["body"]);
    equal(await db("notes").where({ id: note.id }).pluck("body"), [`${name}: written twice`], "upsert");
    equal(await db("notes").whereNot({ org_id: org }).del(), 0, "rows of others that a DELETE reaches");
  });
  await fails("42501", "a row for another tenant", () => ACME("notes").insert({ org_id: OTHER_EXPECT, body: "acme: astray" }));
});

scenario("transactions", () => each(async ({ name, db, org }) => {
  const tx = await db.transaction();
  await tx("notes").insert({ body: `${name}: rolled back` });
  equal(await context(tx), org, "context");
  await tx.rollback();
  equal(await db("notes").whereLike("body", "%: rolled back"), [], "after ROLLBACK");
  const late = db.transaction((inner) => inner("notes").insert({ body: "read only" }), { isolationLevel: "serializable", readOnly: true });
  await fails("25006", "a write in a read-only transaction", () => late);
}));

scenario("savepoints", () => each(async ({ name, db, org }) => {
  await db.transaction(async (tx) => {
    const broken = tx.transaction(async (inner) => {
      await inner("notes").insert({ body: `${name}: undone` });
      await inner.raw("SELECT 1 / 0");
    });
    await fails("22012", "an error", () => broken);
    equal(await context(tx), org, "context behind ROLLBACK TO");
    await tx.transaction((inner) => inner("notes").insert({ body: `${name}: saved` }));
  });
  equal(await db("notes").where("body", "~", ": (undone|saved)$").pluck("body"), [`${name}: saved`], "rows");
}));

scenario("prepared", async () => {
  // Values travel with the unnamed statement, of many clients on few backends.
  await Promise.all(Array.from({ length: 120 }, async (_, number) => {
    const { db, org } = TENANTS[number % 2];
    const found = await db("notes").where("id", ">", number % 3).select("org_id", db.raw(`${CONTEXT} AS seen`));
    yes(found.length > 0 && found.every((row) => row.org_id === org && row.seen === org), `tenants and context for ${org}`);
  }));
});

scenario("errors", async () => {
  equal((await fails("42703", "no column", () => ACME.raw("SELECT 'ü', nothing"))).position, "13", "position");
  const twice = await fails("23505", "a key twice", () => ACME("notes").insert({ id: 1, body: "acme: twice" }));
  equal(twice.constraint, "notes_pkey", "constraint");
});

scenario("batches", () => each(async ({ name, db, org }) => {
  const rows = Array.from({ length: 1000 }, (_, number) => ({ body: `${name}: batch ${number}` }));
  const made = await db.batchInsert("notes", rows, 300).returning("org_id");
  equal([made.length, ...new Set(made.map((note) => note.org_id))], [1000, org], "rows, and their tenants");
  const streamed = [];
  for await (const note of db("notes").whereLike("body", "%: batch %").select("org_id").stream({ highWaterMark: 50 })) streamed.push(note.org_id);
  equal([streamed.length, ...new Set(streamed)], [1000, org], "rows through a cursor of the protocol");
}));

scenario("copy", () => skip("the driver's"));

scenario("notifications", () => skip("the driver's"));

scenario("cancel", async () => {
  const late = ACME.transaction(async (tx) => {
    await tx.raw("SET LOCAL statement_timeout = '20ms'");
    await tx.raw("SELECT pg_sleep(60)");
  });
  await fails("57014", "a timeout", () => late);
  equal(await context(ACME), EXPECT, "context afterwards");
});

scenario("habits", async () => {
  // Tables by a migration, which takes a lock in a table of its own; then it is known.
  const migration = {
    up: (db) => db.schema.createTable("knex_labels", (table) => { table.increments(); table.string("name").unique(); }),
    down: (db) => db.schema.dropTable("knex_labels"),
  };
  const migrationSource = { getMigrations: async () => ["1"], getMigrationName: (name) => name, getMigration: async () => migration };
  equal((await ACME.migrate.latest({ migrationSource }))[1], ["1"], "migrations that ran");
  equal((await ACME.migrate.latest({ migrationSource }))[1], [], "migrations that ran again");
  equal(await ACME.schema.hasColumn("knex_labels", "name"), true, "a new column");
  await ACME.migrate.rollback({ migrationSource });
  await each(async ({ url, org }) => {
    const db = knexFor(url, { searchPath: ["public"], pool: { min: 0, max: 2, afterCreate: (connection, done) => connection.query("SET TIME ZONE 'Asia/Tokyo'", done) } });
    equal([(await db.raw("SHOW TimeZone")).rows[0].TimeZone, await context(db)], ["Asia/Tokyo", org], "a setting of the pool, and context");
    await db.destroy();
  });
});

await run();
