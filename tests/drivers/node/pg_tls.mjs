// node-postgres before a server that requires TLS. What the environment means: ../python/scenario.py and
// ../python/psycopg3_tls.py.

import { readFileSync } from "node:fs";
import pg from "pg";
import { CONTEXT, DATABASE_URL, EXPECT, equal, fails, run, scenario, yes } from "./scenario.mjs";

const { TLS_AUTHORITY, TLS_OTHER_AUTHORITY } = process.env;

/** Statements of each kind over one connection, and a large one. */
async function work(parameters, options = {}) {
  const client = new pg.Client({ connectionString: `${DATABASE_URL}?${parameters}`, ...options });
  await client.connect();
  try {
    yes(client.connection.stream.encrypted, "encrypted");
    for (let n = 0; n < 8; n += 1) {
      const { rows: [row] } = await client.query({ name: "one", text: `SELECT $1::int AS n, ${CONTEXT} AS context`, values: [n] });
      equal(row, { n, context: EXPECT }, "number and context");
    }
    const text = "x".repeat(3_000_000);
    const { rows: [row] } = await client.query("SELECT $1::text AS text", [text]);
    yes(row.text === text, "a large value, there and back");
  } finally {
    await client.end();
  }
}

scenario("require", async () => {
  await work("uselibpqcompat=true&sslmode=require");
  await work("sslmode=no-verify");
});

scenario("verify_full", async () => {
  await work(`sslmode=verify-full&sslrootcert=${TLS_AUTHORITY}`);
  await work("", { ssl: { ca: readFileSync(TLS_AUTHORITY, "utf8") } });
});

scenario("another_authority", () => fails("UNABLE_TO_VERIFY_LEAF_SIGNATURE", "the server's certificate",
  () => work(`sslmode=verify-full&sslrootcert=${TLS_OTHER_AUTHORITY}`)));

scenario("without_tls", () => fails("28000", "a login in clear text", () => work("sslmode=disable")));

await run();
