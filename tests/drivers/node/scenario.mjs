// What the scenario programs of both Node drivers share: settings, checks and the runner.
//
// The environment is the same as for the Python programs:
//   DATABASE_URL, EXPECT_TENANT_VALUE, OTHER_URL, OTHER_EXPECT_TENANT_VALUE, DIRECT_URL, SCENARIO_SCHEMA, POOL_MODE
// (../python/scenario.py says what each means). Arguments are names of scenarios to run; `--list` prints them all.

import { isDeepStrictEqual, inspect } from "node:util";
import { randomBytes } from "node:crypto";

const environment = process.env;
export const DATABASE_URL = environment.DATABASE_URL;
export const EXPECT = environment.EXPECT_TENANT_VALUE;
export const OTHER_URL = environment.OTHER_URL;
export const OTHER_EXPECT = environment.OTHER_EXPECT_TENANT_VALUE;
export const DIRECT_URL = environment.DIRECT_URL;
export const SESSION_POOLING = environment.POOL_MODE === "session";
const SCHEMA = environment.SCENARIO_SCHEMA ?? "public";
const TIMEOUT_SECONDS = Number(environment.SCENARIO_TIMEOUT ?? 120);

// As an expression in a scenario's own statements: the statement that works must see the context, not one beside it.
export const CONTEXT = "current_setting('app.current_org_id', true)";
export const LARGE = 20 * 1024 * 1024;
export const TEXT = "Grüße, 世界 🐘 'quoted' \"double\" back\\slash $1 %s\ttab\nline";
export const BYTES = Buffer.from(Array.from({ length: 256 }, (_, n) => n));

/** A check that did not hold. */
class Failure extends Error {}
class Skip extends Error {}

const scenarios = new Map();
let tableNumber = 0;

/** Registers a scenario. */
export function scenario(name, run) {
  scenarios.set(name, run);
}

export function skip(reason) {
  throw new Skip(reason);
}

function short(value, limit = 400) {
  const text = inspect(value, { depth: 6, breakLength: Infinity, maxStringLength: limit });
  return text.length <= limit ? text : `${text.slice(0, limit)}… (${text.length} characters)`;
}

export function equal(got, want, what) {
  if (!isDeepStrictEqual(got, want)) {
    throw new Failure(`${what}\n    expected: ${short(want)}\n    got:      ${short(got)}`);
  }
}

export function yes(condition, what) {
  if (!condition) throw new Failure(what);
}

/** Checks a value of `CONTEXT` that a statement returned. */
export function inContext(value, what, want = EXPECT) {
  if (want !== undefined) equal(value, want, what);
}

/** Checks that `action` fails with this SQLSTATE; gives the error. */
export async function fails(sqlstate, what, action) {
  let error;
  try {
    await action();
  } catch (caught) {
    error = caught;
  }
  yes(error !== undefined, `${what}: expected an error ${sqlstate}, but it went through`);
  if (error instanceof Failure) throw error;
  equal(error.code, sqlstate, `${what}: SQLSTATE (${error.message})`);
  return error;
}

/** A qualified table name that nobody else uses. */
export function newTable() {
  tableNumber += 1;
  return `${SCHEMA}.pgw_${process.pid}_${randomBytes(4).toString("hex")}_${tableNumber}`;
}

/** Errors that a driver reports on both connections, field by field. */
export function errorFields(error) {
  const names = ["severity", "code", "message", "detail", "hint", "position", "internalPosition", "internalQuery", "where",
    "schema", "table", "column", "dataType", "constraint", "file", "line", "routine",
    "severity_local", "internal_position", "internal_query", "schema_name", "table_name", "column_name", "constraint_name"];
  return Object.fromEntries(names.map((name) => [name, error[name]]));
}

/** Queries that fail, with SQLSTATE, message and the text that the position points at. */
export function failingQueries(table) {
  const constraint = `${table.split(".")[1]}_pkey`;
  return [
    ["SELECT 1 FORM x", "42601", 'syntax error at or near "x"', " x"],
    ["SELECT 'ü世🐘', nothing", "42703", 'column "nothing" does not exist', " nothing"],
    ["/* ü */ SELECT * FROM no_such_table", "42P01", 'relation "no_such_table" does not exist', " no_such_table"],
    ["SELECT no_such_function(1)", "42883", "function no_such_function(integer) does not exist", " no_such_function"],
    ["SELECT 1 / 0", "22012", "division by zero", null],
    [`INSERT INTO ${table} VALUES (1)`, "23505", `duplicate key value violates unique constraint "${constraint}"`, null],
  ];
}

/** Where PostgreSQL's error position points: characters (not UTF-16 units), counted from 1. */
export function positionOf(query, where) {
  return where === null ? undefined : String(Array.from(query.slice(0, query.indexOf(where) + 1)).length + 1);
}

/** Runs the scenarios named on the command line, or all; ends the program. */
export async function run() {
  const names = process.argv.slice(2);
  if (names.length === 1 && names[0] === "--list") {
    console.log([...scenarios.keys()].join("\n"));
    process.exit(0);
  }
  const unknown = names.filter((name) => !scenarios.has(name));
  if (unknown.length > 0 || !DATABASE_URL) {
    console.error(unknown.length > 0 ? `unknown scenarios: ${unknown.join(", ")}` : "DATABASE_URL is not set");
    process.exit(2);
  }
  const count = { ok: 0, failed: 0, skip: 0 };
  for (const [name, action] of scenarios) {
    if (names.length === 0 || names.includes(name)) count[await runOne(name, action)] += 1;
  }
  console.log(`${count.ok} passed, ${count.failed} failed`);
  process.exit(count.failed > 0 ? 1 : 0);
}

async function runOne(name, action) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failure(`not done after ${TIMEOUT_SECONDS} s`)), TIMEOUT_SECONDS * 1000);
  });
  try {
    await Promise.race([action(), late]);
  } catch (error) {
    if (error instanceof Skip) {
      console.log(`skip ${name}: ${error.message}`);
      return "skip";
    }
    const text = error instanceof Failure ? `${error.message}\n    ${placeOf(error)}` : inspect(error);
    console.log(`FAILED ${name}: ${text}`);
    return "failed";
  } finally {
    clearTimeout(timer);
  }
  console.log(`ok ${name}`);
  return "ok";
}

function placeOf(error) {
  const line = error.stack.split("\n").find((frame) => frame.includes(".mjs") && !frame.includes("scenario.mjs"));
  return line?.trim() ?? "";
}
