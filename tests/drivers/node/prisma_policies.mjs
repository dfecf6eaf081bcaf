// Prisma as two tenants, on its adapter for node-postgres and without an engine of its own. How to run it, and what the
// environment means: scenario.mjs.

import { PrismaPg } from "@prisma/adapter-pg";
import prisma from "@prisma/client";
import { CONTEXT, DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, equal, run, scenario, skip, yes } from "./scenario.mjs";

// Six connections of each in front of four backends.
function clientFor(url, options = {}) {
  return new prisma.PrismaClient({ adapter: new PrismaPg({ connectionString: url, max: 6, ...options }) });
}

const TENANTS = [
  { name: "acme", client: clientFor(DATABASE_URL), org: EXPECT },
  { name: "globex", client: clientFor(OTHER_URL), org: OTHER_EXPECT },
];
const ACME = TENANTS[0].client;

async function context(client) {
  return (await client.$queryRawUnsafe(`SELECT ${CONTEXT} AS value`))[0].value;
}

async function bodies(client, endsWith) {
  return (await client.note.findMany({ where: { body: { endsWith } }, orderBy: { id: "asc" } })).map((note) => note.body);
}

/** Checks that `action` fails with this code, of Prisma or of the server; gives the error. */
async function fails(code, what, action) {
  const error = await action().then(() => undefined, (caught) => caught);
  yes(error !== undefined, `${what}: expected ${code}, but it went through`);
  const codes = [error.code, error.meta?.code, error.cause?.originalCode, error.meta?.driverAdapterError?.cause?.originalCode];
  yes(codes.includes(code), `${what}: expected ${code}, got ${codes.filter(Boolean)} (${error.message})`);
  return error;
}

async function each(action) {
  for (const tenant of TENANTS) await action(tenant);
}

scenario("connects", () => each(async ({ client, org }) => {
  await client.$connect();
  equal(await context(client), org, "context");
}));

scenario("reads", async () => {
  for (let round = 0; round < 5; round += 1) {
    await each(async ({ name, client, org }) => {
      equal(await bodies(client, ": first"), [`${name}: first`], "rows");
      equal((await client.note.findUnique({ where: { id: 1n } })) !== null, name === "acme", "the row of acme by its key");
      const groups = await client.note.groupBy({ by: ["orgId"], _count: true });
      equal(groups.map((group) => group.orgId), [org], "tenants of the rows");
    });
  }
});

scenario("writes", async () => {
  await each(async ({ name, client, org }) => {
    const note = await client.note.create({ data: { body: `${name}: written` } });
    equal(note.orgId, org, "tenant of the row");
    await client.note.update({ where: { id: note.id }, data: { body: `${name}: written twice` } });
    const { count } = await client.note.updateMany({ where: { orgId: { not: org } }, data: { body: "nobody's" } });
    equal(count, 0, "rows of others that an UPDATE reaches");
    const again = await client.note.upsert({ where: { id: note.id }, update: { body: `${name}: written thrice` }, create: { body: "" } });
    equal(again.body, `${name}: written thrice`, "upsert");
  });
  await fails("42501", "a row for another tenant", () => ACME.note.create({ data: { orgId: OTHER_EXPECT, body: "acme: astray" } }));
});

scenario("transactions", () => each(async ({ name, client, org }) => {
  const broken = client.$transaction(async (tx) => {
    await tx.note.create({ data: { body: `${name}: rolled back` } });
    equal(await context(tx), org, "context in a transaction");
    throw new Error("enough");
  });
  equal(await broken.catch((error) => error.message), "enough", "what ended the transaction");
  equal(await bodies(client, ": rolled back"), [], "after ROLLBACK");
  const options = { isolationLevel: "Serializable" };
  const [{ value }] = await client.$transaction((tx) => tx.$queryRaw`SELECT current_setting('transaction_isolation') AS value`, options);
  equal(value, "serializable", "isolation");
}));

scenario("savepoints", () => each(async ({ name, client, org }) => {
  await client.$transaction(async (tx) => {
    await tx.$executeRaw`SAVEPOINT one`;
    await tx.note.create({ data: { body: `${name}: undone` } });
    await fails("22012", "an error", () => tx.$queryRaw`SELECT 1 / 0`);
    await tx.$executeRaw`ROLLBACK TO one`;
    equal(await context(tx), org, "context behind ROLLBACK TO");
    await tx.note.create({ data: { body: `${name}: saved` } });
  });
  equal([...(await bodies(client, ": undone")), ...(await bodies(client, ": saved"))], [`${name}: saved`], "rows");
}));

scenario("prepared", async () => {
  const named = (url) => {
    const adapter = new PrismaPg({ connectionString: url, max: 6 }, { statementNameGenerator: ({ sql }) => `prisma_${sql.length}` });
    return new prisma.PrismaClient({ adapter });
  };
  const clients = [named(DATABASE_URL), named(OTHER_URL)];
  const work = async (client, org, number) => {
    const notes = await client.note.findMany({ where: { id: { gt: number % 2 } } });
    equal([...new Set(notes.map((note) => note.orgId))], [org], "tenants of the rows");
  };
  const all = Array.from({ length: 100 }, (_, number) => work(clients[number % 2], [EXPECT, OTHER_EXPECT][number % 2], number));
  await Promise.all(all);
  // What Prisma's own engine does on a connection in front of PgBouncer.
  for (const client of clients) await client.$executeRawUnsafe("DEALLOCATE ALL");
  await Promise.all(clients.map((client, number) => work(client, [EXPECT, OTHER_EXPECT][number], 0)));
  await Promise.all(clients.map((client) => client.$disconnect()));
});

scenario("errors", async () => {
  await fails("42703", "no column", () => ACME.$queryRaw`SELECT nothing`);
  await fails("P2002", "a key twice", () => ACME.note.create({ data: { id: 1n, body: "acme: twice" } }));
});

scenario("batches", () => each(async ({ name, client, org }) => {
  const data = Array.from({ length: 1000 }, (_, number) => ({ body: `${name}: batch ${number}` }));
  equal((await client.note.createMany({ data })).count, 1000, "rows");
  const made = await client.note.createManyAndReturn({ data: data.slice(0, 100) });
  equal([...new Set(made.map((note) => note.orgId))], [org], "tenants of the rows");
  // Several operations are one transaction.
  const create = client.note.create({ data: { body: `${name}: batch undone` } });
  await fails("P2002", "an error in a batch", () => client.$transaction([create, client.note.create({ data: { id: made[0].id, body: "" } })]));
  equal(await client.note.count({ where: { body: { contains: ": batch " } } }), 1100, "rows");
}));

scenario("copy", () => skip("the driver's"));

scenario("notifications", () => skip("the driver's"));

scenario("cancel", async () => {
  const late = ACME.$transaction(async (tx) => {
    await tx.$executeRaw`SET LOCAL statement_timeout = '20ms'`;
    await tx.$queryRaw`SELECT 1 FROM pg_sleep(60)`;
  });
  await fails("57014", "a timeout", () => late);
  // The transaction's own timeout: Prisma rolls it back, and the connection goes on.
  const slow = ACME.$transaction(async (tx) => {
    await tx.note.create({ data: { body: "acme: too late" } });
    await tx.$queryRaw`SELECT 1 FROM pg_sleep(0.3)`;
    await tx.note.count();
  }, { timeout: 100 });
  await fails("P2028", "a transaction that takes too long", () => slow);
  equal(await bodies(ACME, ": too late"), [], "rows of the late transaction");
  equal(await context(ACME), EXPECT, "context afterwards");
});

scenario("habits", async () => {
  // Connections that come and go; queries of one tick, which Prisma puts together.
  await each(async ({ name, client, org }) => {
    for (let round = 0; round < 3; round += 1) {
      const found = await Promise.all([1n, 2n, 3n, 4n].map((id) => client.note.findUnique({ where: { id } })));
      equal(found.filter(Boolean).every((note) => note.orgId === org), true, `notes by key for ${name}`);
      await client.$disconnect();
    }
  });
});

await run();
