// How `prisma migrate` reaches the database: the engine that comes with the package (WebAssembly), on the adapter for
// node-postgres, so that nothing has to be fetched.

import { PrismaPg } from "@prisma/adapter-pg";
import pg from "pg";

// The engine reads the catalog, whose type "name" the adapter does not know: it is text.
const NAME = 19;
const TEXT = 25;

function withoutNames(result) {
  for (const field of result?.fields ?? []) if (field.dataTypeID === NAME) field.dataTypeID = TEXT;
  return result;
}

for (const { prototype } of [pg.Client, pg.Pool]) {
  const { query } = prototype;
  prototype.query = function (...parameters) {
    const result = query.apply(this, parameters);
    return result instanceof Promise ? result.then(withoutNames) : result;
  };
}

export default {
  experimental: { adapter: true },
  engine: "js",
  schema: "notes.prisma",
  migrations: { path: "prisma_migrations" },
  adapter: async () => new PrismaPg({ connectionString: process.env.MIGRATIONS_URL }),
};
