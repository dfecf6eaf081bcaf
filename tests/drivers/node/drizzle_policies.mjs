// Drizzle as two tenants, on node-postgres and on postgres.js. How to run it, and what the environment means: scenario.mjs.

import { desc, eq, like, ne, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { drizzle as drizzlePostgresJs } from "drizzle-orm/postgres-js";
import { bigserial, pgTable, text, uuid } from "drizzle-orm/pg-core";
import pg from "pg";
import postgres from "postgres";
import { CONTEXT, DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, equal, run, scenario, skip, yes } from "./scenario.mjs";

const notes = pgTable("notes", {
  id: bigserial({ mode: "number" }).primaryKey(),
  orgId: uuid("org_id").notNull().default(sql`org()`),
  body: text().notNull(),
});
const current = sql.raw(CONTEXT);

// Six connections of each in front of four backends.
const TENANTS = [
  { name: "acme", db: drizzle(new pg.Pool({ connectionString: DATABASE_URL, max: 6 })), url: DATABASE_URL, org: EXPECT },
  { name: "globex", db: drizzle(new pg.Pool({ connectionString: OTHER_URL, max: 6 })), url: OTHER_URL, org: OTHER_EXPECT },
];
const ACME = TENANTS[0].db;

async function context(db) {
  return (await db.execute(sql`SELECT ${current} AS value`)).rows[0].value;
}

async function bodies(db, pattern) {
  return (await db.select().from(notes).where(like(notes.body, pattern)).orderBy(notes.id)).map((note) => note.body);
}

/** Checks that `action` fails with this SQLSTATE; gives the driver's error. */
async function fails(code, what, action) {
  const error = await action().then(() => undefined, (caught) => caught);
  yes(error !== undefined, `${what}: expected ${code}, but it went through`);
  equal((error.cause ?? error).code, code, `${what} (${error.message})`);
  return error.cause ?? error;
}

async function each(action) {
  for (const tenant of TENANTS) await action(tenant);
}

scenario("connects", () => each(async ({ db, org }) => equal(await context(db), org, "context")));

scenario("reads", async () => {
  for (let round = 0; round < 5; round += 1) {
    await each(async ({ name, db, org }) => {
      equal(await bodies(db, "%: first"), [`${name}: first`], "rows");
      equal(await db.$count(notes, ne(notes.orgId, org)), 0, "others' rows");
      const [last] = await db.with(db.$with("mine").as(db.select().from(notes))).select().from(notes).orderBy(desc(notes.id)).limit(1);
      equal(last.orgId, org, "tenant of the last row");
    });
  }
});

scenario("writes", async () => {
  await each(async ({ name, db, org }) => {
    const [note] = await db.insert(notes).values({ body: `${name}: written` }).returning();
    equal(note.orgId, org, "tenant of the row");
    const set = { body: `${name}: written twice` };
    const [again] = await db.insert(notes).values({ id: note.id, body: "" }).onConflictDoUpdate({ target: notes.id, set }).returning();
    equal(again.body, `${name}: written twice`, "upsert");
    equal((await db.delete(notes).where(ne(notes.orgId, org))).rowCount, 0, "rows of others that a DELETE reaches");
  });
  await fails("42501", "a row for another tenant", () => ACME.insert(notes).values({ orgId: OTHER_EXPECT, body: "acme: astray" }).execute());
});

scenario("transactions", () => each(async ({ name, db, org }) => {
  const broken = db.transaction(async (tx) => {
    await tx.insert(notes).values({ body: `${name}: rolled back` });
    tx.rollback();
  });
  equal(await broken.catch((error) => error.message), "Rollback", "what ended the transaction");
  equal(await bodies(db, "%: rolled back"), [], "after ROLLBACK");
  await db.transaction(async (tx) => {
    equal(await context(tx), org, "context");
  }, { isolationLevel: "serializable", accessMode: "read only" });
}));

scenario("savepoints", () => each(async ({ name, db, org }) => {
  await db.transaction(async (tx) => {
    const broken = tx.transaction(async (inner) => {
      await inner.insert(notes).values({ body: `${name}: undone` });
      await inner.execute(sql`SELECT 1 / 0`);
    });
    await fails("22012", "an error", () => broken);
    equal(await context(tx), org, "context behind ROLLBACK TO");
    await tx.transaction((inner) => inner.insert(notes).values({ body: `${name}: saved` }));
  });
  equal(await bodies(db, "%: undone"), [], "what was undone");
  equal(await bodies(db, "%: saved"), [`${name}: saved`], "what was saved");
}));

scenario("prepared", async () => {
  const select = (db) => db.select({ org: notes.orgId, seen: sql`${current}` }).from(notes).where(sql`id > ${sql.placeholder("id")}`);
  const clients = TENANTS.flatMap(({ url, org }) => {
    const own = postgres(url, { max: 6, onnotice: () => {} });
    return [{ query: select(drizzle(url)).prepare("by_name"), org }, { query: select(drizzlePostgresJs(own)).prepare("by_name"), org, own }];
  });
  await Promise.all(Array.from({ length: 120 }, async (_, number) => {
    const { query, org } = clients[number % 4];
    const found = await query.execute({ id: number % 3 });
    yes(found.length > 0 && found.every((row) => row.org === org && row.seen === org), `tenants and context for ${org}`);
  }));
  await Promise.all(clients.map(({ own }) => own?.end()));
});

scenario("errors", async () => {
  equal((await fails("42703", "no column", () => ACME.execute(sql`SELECT 'ü', nothing`))).position, "13", "position");
  const twice = await fails("23505", "a key twice", () => ACME.insert(notes).values({ id: 1, body: "acme: twice" }).execute());
  equal(twice.constraint, "notes_pkey", "constraint");
});

scenario("batches", () => each(async ({ name, db, org }) => {
  const made = await db.insert(notes).values(Array.from({ length: 1000 }, (_, n) => ({ body: `${name}: batch ${n}` }))).returning();
  equal([...new Set(made.map((note) => note.orgId))], [org], "tenants of the rows");
  equal((await db.update(notes).set({ body: `${name}: batch` }).where(like(notes.body, "%: batch %"))).rowCount, 1000, "rows changed");
}));

scenario("copy", () => skip("the driver's"));

scenario("notifications", () => skip("the driver's"));

scenario("cancel", async () => {
  const late = ACME.transaction(async (tx) => {
    await tx.execute(sql`SET LOCAL statement_timeout = '20ms'`);
    await tx.execute(sql`SELECT pg_sleep(60)`);
  });
  await fails("57014", "a timeout", () => late);
  equal(await context(ACME), EXPECT, "context afterwards");
});

scenario("habits", () => each(async ({ url, org }) => {
  // postgres.js asks for the types of arrays when it connects; Drizzle takes out its parsers of dates.
  const own = postgres(url, { max: 2, connection: { TimeZone: "Asia/Tokyo" }, onnotice: () => {} });
  const db = drizzlePostgresJs(own);
  const rows = await Promise.all([1, 2, 3, 4].map((n) => db.execute(sql`SELECT ${current} AS value, current_setting('TimeZone') AS zone, ${n}::int`)));
  for (const [row] of rows) equal([row.value, row.zone], [org, "Asia/Tokyo"], "context, and a setting of the start");
  equal((await db.select().from(notes).where(eq(notes.orgId, org)).limit(1)).length, 1, "rows");
  await own.end();
}));

await run();
