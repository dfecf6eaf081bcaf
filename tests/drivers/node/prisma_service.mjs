// `prisma migrate deploy` as a service (SERVICE_URL), and the tenants behind it. The rest of the environment: scenario.mjs.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { PrismaPg } from "@prisma/adapter-pg";
import prisma from "@prisma/client";
import { DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, equal, run, scenario, yes } from "./scenario.mjs";

const SERVICE_URL = process.env.SERVICE_URL;
const here = import.meta.dirname;

function clientFor(url) {
  return new prisma.PrismaClient({ adapter: new PrismaPg({ connectionString: url, max: 3 }) });
}

const TENANTS = [
  { name: "acme", client: clientFor(DATABASE_URL), org: EXPECT },
  { name: "globex", client: clientFor(OTHER_URL), org: OTHER_EXPECT },
];

/** Runs `prisma migrate`; gives what it said, and whether it failed. */
async function migrate(url, ...command) {
  const engines = { PRISMA_SCHEMA_ENGINE_BINARY: "/bin/true", PRISMA_QUERY_ENGINE_LIBRARY: "/bin/true" };
  const env = { ...process.env, ...engines, CHECKPOINT_DISABLE: "1", MIGRATIONS_URL: url };
  const whole = ["node_modules/prisma/build/index.js", "migrate", ...command, "--config", "prisma.config.mjs"];
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, whole, { cwd: here, env });
    return { said: stdout + stderr, failed: false };
  } catch (error) {
    return { said: error.stdout + error.stderr, failed: true };
  }
}

async function first(client) {
  return (await client.note.findFirst({ orderBy: { id: "asc" } })).body;
}

scenario("tenants_may_not_migrate", async () => {
  const { said, failed } = await migrate(DATABASE_URL, "resolve", "--applied", "0_before");
  yes(failed && said.includes("permission denied"), said);
});

scenario("the_service_migrates", async () => {
  for (const { name, client } of TENANTS) equal(await first(client), `${name}: first`, "a row");
  for (const command of [["resolve", "--applied", "0_before"], ["deploy"], ["deploy"]]) {
    const { said, failed } = await migrate(SERVICE_URL, ...command);
    yes(!failed, `${command}: ${said}`);
  }
});

scenario("tenants_see_what_is_theirs", async () => {
  for (const { name, client, org } of TENANTS) {
    equal(await first(client), `${name}: first`, "a row, by a statement from before");
    const titles = await client.$queryRawUnsafe("SELECT min(title) AS title FROM notes");
    equal(titles[0].title, `${name.toUpperCase()}: FIRST`, "a title");
    const labels = await client.$queryRawUnsafe("SELECT name FROM labels");
    equal(labels, [{ name: `of ${org}` }], "labels");
  }
});

await run();
