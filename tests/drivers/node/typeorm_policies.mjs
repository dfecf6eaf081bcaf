// TypeORM as two tenants. How to run it, and what the environment means: scenario.mjs.

import typeorm from "typeorm";
import { CONTEXT, DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, equal, fails, run, scenario, skip, yes } from "./scenario.mjs";

const { DataSource, EntitySchema, Like, Not } = typeorm;
const Note = new EntitySchema({
  name: "Note",
  tableName: "notes",
  columns: {
    id: { type: "bigint", primary: true, generated: true },
    orgId: { name: "org_id", type: "uuid", default: () => "org()" },
    body: { type: "text" },
  },
});

// Six connections of each in front of four backends.
function sourceFor(url, options = {}) {
  return new DataSource({ type: "postgres", url, entities: [Note], extra: { max: 6 }, ...options });
}

const TENANTS = [
  { name: "acme", db: sourceFor(DATABASE_URL), url: DATABASE_URL, org: EXPECT },
  { name: "globex", db: sourceFor(OTHER_URL), url: OTHER_URL, org: OTHER_EXPECT },
];
const ACME = TENANTS[0].db;
for (const { db } of TENANTS) await db.initialize();

async function context(on) {
  return (await on.query(`SELECT ${CONTEXT} AS value`))[0].value;
}

async function bodies(db, pattern) {
  return (await db.manager.find(Note, { where: { body: Like(pattern) }, order: { id: "ASC" } })).map((note) => note.body);
}

async function each(action) {
  for (const tenant of TENANTS) await action(tenant);
}

scenario("connects", () => each(async ({ db, org }) => {
  equal(db.isInitialized, true, "what it looks up when it connects");
  equal(await context(db), org, "context");
}));

scenario("reads", async () => {
  for (let round = 0; round < 5; round += 1) {
    await each(async ({ name, db, org }) => {
      equal(await bodies(db, "%: first"), [`${name}: first`], "rows");
      equal(await db.manager.countBy(Note, { orgId: Not(org) }), 0, "others' rows");
      equal((await db.manager.findOneBy(Note, { id: 1 })) !== null, name === "acme", "the row of acme by its key");
    });
  }
});

scenario("writes", async () => {
  await each(async ({ name, db, org }) => {
    const note = await db.manager.save(Note, { body: `${name}: written` });
    equal(note.orgId, org, "tenant of the row");
    note.body = `${name}: written twice`;
    await db.manager.save(Note, note);
    equal((await db.manager.delete(Note, { orgId: Not(org) })).affected, 0, "rows of others that a DELETE reaches");
  });
  await fails("42501", "a row for another tenant", () => ACME.manager.insert(Note, { orgId: OTHER_EXPECT, body: "acme: astray" }));
});

scenario("transactions", () => each(async ({ name, db, org }) => {
  const broken = db.transaction(async (manager) => {
    await manager.save(Note, { body: `${name}: rolled back` });
    equal(await context(manager), org, "context");
    throw new Error("enough");
  });
  equal(await broken.catch((error) => error.message), "enough", "what ended the transaction");
  equal(await bodies(db, "%: rolled back"), [], "after ROLLBACK");
  const [{ value }] = await db.transaction("SERIALIZABLE", (manager) => manager.query("SELECT current_setting('transaction_isolation') AS value"));
  equal(value, "serializable", "isolation");
}));

scenario("savepoints", () => each(async ({ name, db, org }) => {
  await db.transaction(async (manager) => {
    const broken = manager.transaction(async (inner) => {
      await inner.save(Note, { body: `${name}: undone` });
      await inner.query("SELECT 1 / 0");
    });
    await fails("22012", "an error", () => broken);
    equal(await context(manager), org, "context behind ROLLBACK TO");
    await manager.transaction((inner) => inner.save(Note, { body: `${name}: saved` }));
  });
  equal([...(await bodies(db, "%: undone")), ...(await bodies(db, "%: saved"))], [`${name}: saved`], "rows");
}));

scenario("prepared", async () => {
  // Values travel with the unnamed statement, of many clients on few backends.
  await Promise.all(Array.from({ length: 120 }, async (_, number) => {
    const { db, org } = TENANTS[number % 2];
    const found = await db.query(`SELECT org_id, ${CONTEXT} AS seen FROM notes WHERE id > $1`, [number % 3]);
    yes(found.length > 0 && found.every((row) => row.org_id === org && row.seen === org), `tenants and context for ${org}`);
  }));
});

scenario("errors", async () => {
  equal((await fails("42703", "no column", () => ACME.query("SELECT 'ü', nothing"))).driverError.position, "13", "position");
  const twice = await fails("23505", "a key twice", () => ACME.query("INSERT INTO notes (id, body) VALUES ($1, $2)", [1, "acme: twice"]));
  equal(twice.driverError.constraint, "notes_pkey", "constraint");
});

scenario("batches", () => each(async ({ name, db, org }) => {
  const made = await db.manager.save(Note, Array.from({ length: 1000 }, (_, number) => ({ body: `${name}: batch ${number}` })), { chunk: 300 });
  equal([made.length, ...new Set(made.map((note) => note.orgId))], [1000, org], "rows, and their tenants");
  const { affected } = await db.createQueryBuilder().update(Note).set({ body: `${name}: batch` }).where("body LIKE '%: batch %'").execute();
  equal(affected, 1000, "rows changed");
}));

scenario("copy", () => skip("the driver's"));

scenario("notifications", () => skip("the driver's"));

scenario("cancel", async () => {
  const late = ACME.transaction(async (manager) => {
    await manager.query("SET LOCAL statement_timeout = '20ms'");
    await manager.query("SELECT pg_sleep(60)");
  });
  await fails("57014", "a timeout", () => late);
  equal(await context(ACME), EXPECT, "context afterwards");
});

scenario("habits", async () => {
  // Tables by comparison of the schema, then by a migration.
  const Label = new EntitySchema({ name: "Label", tableName: "typeorm_labels", columns: { id: { type: "int", primary: true, generated: true }, kind: { type: "enum", enum: ["a", "b"] } } });
  class Comment1700000000000 {
    up(runner) { return runner.query("COMMENT ON TABLE typeorm_labels IS 'by a migration'"); }
    down(runner) { return runner.query("COMMENT ON TABLE typeorm_labels IS NULL"); }
  }
  const db = await sourceFor(DATABASE_URL, { entities: [Label], migrations: [Comment1700000000000], applicationName: "typeorm" }).initialize();
  await db.synchronize();
  equal((await db.runMigrations()).length + (await db.runMigrations()).length, 1, "migrations that ran, once");
  equal((await db.query("SHOW application_name"))[0].application_name, "typeorm", "application name");
  const runner = db.createQueryRunner();
  equal((await runner.getTable("typeorm_labels")).columns.length, 2, "columns in the catalogs");
  await runner.dropTable("typeorm_labels");
  await runner.release();
  await db.destroy();
});

await run();
