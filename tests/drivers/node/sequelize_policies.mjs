// Sequelize as two tenants. How to run it, and what the environment means: scenario.mjs.

import { DataTypes, Op, Sequelize } from "sequelize";
import { CONTEXT, DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, equal, run, scenario, skip, yes } from "./scenario.mjs";

// Six connections of each, which all set client_min_messages, in front of four backends.
function tenant(name, url, org) {
  const db = new Sequelize(url, { logging: false, pool: { max: 6 } });
  const id = { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true };
  const orgId = { type: DataTypes.UUID, field: "org_id" };
  const Note = db.define("Note", { id, orgId, body: DataTypes.TEXT }, { tableName: "notes", timestamps: false });
  return { name, db, Note, org, url };
}

const TENANTS = [tenant("acme", DATABASE_URL, EXPECT), tenant("globex", OTHER_URL, OTHER_EXPECT)];
const [ACME] = TENANTS;

async function context(db, transaction) {
  const [[row]] = await db.query(`SELECT ${CONTEXT} AS value`, { transaction });
  return row.value;
}

async function bodies(Note, body) {
  return (await Note.findAll({ where: { body: { [Op.endsWith]: body } }, order: ["id"] })).map((note) => note.body);
}

/** Checks that `action` fails with this SQLSTATE; gives the driver's error. */
async function fails(code, what, action) {
  const error = await action().then(() => undefined, (caught) => caught);
  yes(error !== undefined, `${what}: expected ${code}, but it went through`);
  equal(error.parent?.code, code, `${what} (${error.message})`);
  return error.parent;
}

async function each(action) {
  for (const each of TENANTS) await action(each);
}

scenario("connects", () => each(async ({ db, org }) => {
  await db.authenticate();
  yes(Number.parseInt(await db.databaseVersion(), 10) >= 14, "server version");
  equal(await context(db), org, "context");
}));

scenario("reads", async () => {
  for (let round = 0; round < 5; round += 1) {
    await each(async ({ name, Note, org }) => {
      equal(await bodies(Note, ": first"), [`${name}: first`], "rows");
      equal(await Note.count({ where: { orgId: { [Op.ne]: org } } }), 0, "others' rows");
      equal((await Note.findByPk(1)) !== null, name === "acme", "the row of acme by its key");
    });
  }
});

scenario("writes", async () => {
  await each(async ({ name, Note, org }) => {
    const note = await Note.create({ body: `${name}: written` }, { fields: ["body"] });
    equal(note.orgId, org, "tenant of the row");
    await note.update({ body: `${name}: written twice` });
    equal(await Note.update({ body: "nobody's" }, { where: { orgId: { [Op.ne]: org } } }), [0], "rows of others that an UPDATE reaches");
    // A function of its own in pg_temp, or a transaction with a savepoint: it looks first, and then writes.
    const [again, created] = await Note.findOrCreate({ where: { body: `${name}: found or made` }, defaults: { orgId: org } });
    equal([again.orgId, created], [org, true], "findOrCreate");
  });
  await fails("42501", "a row for another tenant", () => ACME.Note.create({ orgId: OTHER_EXPECT, body: "acme: astray" }));
});

scenario("transactions", () => each(async ({ name, db, Note, org }) => {
  const broken = db.transaction(async (transaction) => {
    await Note.create({ body: `${name}: rolled back` }, { transaction, fields: ["body"] });
    equal(await context(db, transaction), org, "context");
    throw new Error("enough");
  });
  equal(await broken.catch((error) => error.message), "enough", "what ended the transaction");
  equal(await bodies(Note, ": rolled back"), [], "after ROLLBACK");
  const transaction = await db.transaction({ isolationLevel: Sequelize.Transaction.ISOLATION_LEVELS.SERIALIZABLE });
  const [[row]] = await db.query(`SELECT current_setting('transaction_isolation') || ${CONTEXT} AS value`, { transaction });
  equal(row.value, `serializable${org}`, "isolation and context");
  await transaction.commit();
}));

scenario("savepoints", () => each(async ({ name, db, Note, org }) => {
  await db.transaction(async (outer) => {
    const inner = await db.transaction({ transaction: outer });
    await Note.create({ body: `${name}: undone` }, { transaction: inner, fields: ["body"] });
    await fails("22012", "an error", () => db.query("SELECT 1 / 0", { transaction: inner }));
    await inner.rollback();
    equal(await context(db, outer), org, "context behind ROLLBACK TO");
    await Note.create({ body: `${name}: saved` }, { transaction: outer, fields: ["body"] });
  });
  equal([...(await bodies(Note, ": undone")), ...(await bodies(Note, ": saved"))], [`${name}: saved`], "rows");
}));

scenario("prepared", async () => {
  // Values that are bound travel with the unnamed statement, of many clients on few backends.
  await Promise.all(Array.from({ length: 120 }, async (_, number) => {
    const { db, org } = TENANTS[number % 2];
    const [found] = await db.query(`SELECT org_id, ${CONTEXT} AS seen FROM notes WHERE id > $1`, { bind: [number % 3] });
    yes(found.length > 0 && found.every((row) => row.org_id === org && row.seen === org), `tenants and context for ${org}`);
  }));
});

scenario("errors", async () => {
  equal((await fails("42703", "no column", () => ACME.db.query("SELECT 'ü', nothing"))).position, "13", "position");
  const twice = await fails("23505", "a key twice", () => ACME.Note.create({ id: 1, body: "acme: twice" }, { fields: ["id", "body"] }));
  equal(twice.constraint, "notes_pkey", "constraint");
});

scenario("batches", () => each(async ({ name, Note, org }) => {
  const rows = Array.from({ length: 1000 }, (_, number) => ({ body: `${name}: batch ${number}` }));
  const made = await Note.bulkCreate(rows, { fields: ["body"], returning: true });
  equal([made.length, ...new Set(made.map((note) => note.orgId))], [1000, org], "rows, and their tenants");
  equal(await Note.destroy({ where: { body: { [Op.like]: "%: batch 9%" } } }), 111, "rows deleted");
}));

scenario("copy", () => skip("the driver's"));

scenario("notifications", () => skip("the driver's"));

scenario("cancel", async () => {
  const late = ACME.db.transaction(async (transaction) => {
    await ACME.db.query("SET LOCAL statement_timeout = '20ms'", { transaction });
    await ACME.db.query("SELECT pg_sleep(60)", { transaction });
  });
  await fails("57014", "a timeout", () => late);
  equal(await context(ACME.db), EXPECT, "context afterwards");
});

scenario("habits", async () => {
  // It sets the time zone on each connection, as an offset, and looks for the types of extensions.
  await each(async ({ url, org }) => {
    const db = new Sequelize(url, { logging: false, timezone: "+09:00", pool: { max: 6 } });
    const rows = await Promise.all([1, 2, 3, 4, 5, 6].map(() => db.query(`SELECT current_setting('TimeZone') AS zone, ${CONTEXT} AS value`)));
    for (const [[row]] of rows) equal([row.zone, row.value], ["<+09>-09", org], "a setting of each connection, and context");
    await db.close();
  });
  const Label = ACME.db.define("Label", { kind: DataTypes.ENUM("a", "b") }, { tableName: "sequelize_labels" });
  await Label.sync();
  await Label.sync({ alter: true });
  equal(Object.keys(await ACME.db.getQueryInterface().describeTable("sequelize_labels")).includes("kind"), true, "a new table");
  await Label.drop({});
});

await run();
