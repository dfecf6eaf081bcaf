// A small API over the example platform. One pool serves every tenant; no query says whose rows it wants.
//
//     DATABASE_URL=postgres://app:…@localhost:6432/platform PORT=3000 node server.mjs

import { createServer } from "node:http";
import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: Number(process.env.POOL_SIZE ?? 4) });
pool.on("error", () => {}); // an idle connection has ended: the pool opens another when it needs one

// The one line for pgwarden: the session token goes in front of a transaction as a comment. It is taken out on the way.
const acting = (token) => (token ? `/*pgwarden_token='${encodeURIComponent(token).replaceAll("'", "%27")}'*/ ` : "");

/** One statement for who sent the request. */
const query = (token, text, values) => pool.query(acting(token) + text, values);

/** Several statements for who sent the request: all of them, or none. */
async function transaction(token, work) {
  const client = await pool.connect();
  try {
    await client.query(acting(token) + "BEGIN");
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

/** An answer other than 200. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const ROUTES = {
  "GET /health": async () => (await query("", "SELECT true AS up")).rows[0],

  "GET /me": async ({ token }) => {
    const { rows } = await query(
      token,
      `SELECT u.username, o.slug AS organization, o.role
       FROM platform.users u, platform.get_user_active_org(u.id) o WHERE u.id = platform.current_user_id()`,
    );
    return rows[0] ?? {};
  },

  "GET /projects": async ({ token }) => (await query(token, "SELECT name, slug, ref FROM platform.projects ORDER BY ref")).rows,

  // A project and the line about it in the audit log.
  "POST /projects": ({ token, body }) =>
    transaction(token, async (client) => {
      const { rows } = await client.query(
        `INSERT INTO platform.projects (organization_id, name, slug, ref)
         VALUES (platform.current_org_id(), $1, $2, $3) RETURNING name, slug, ref`,
        [body.name, body.slug, body.ref],
      );
      await client.query(
        `INSERT INTO platform.audit_logs (organization_id, user_id, action)
         VALUES (platform.current_org_id(), platform.current_user_id(), 'project.create')`,
      );
      return rows[0];
    }),

  "PATCH /projects": async ({ token, body }) => {
    const { rows } = await query(
      token, "UPDATE platform.projects SET name = $2 WHERE ref = $1 RETURNING name, slug, ref", [body.ref, body.name],
    );
    if (!rows[0]) throw new Refused(404, "no such project");
    return rows[0];
  },

  "PATCH /organization": async ({ token, body }) => {
    const { rows } = await query(token, "UPDATE platform.organizations SET name = $1 RETURNING name, slug", [body.name]);
    if (!rows[0]) throw new Refused(403, "only admins change an organisation");
    return rows[0];
  },

  // Takes effect with the next transaction, whichever connection and whichever pgwarden it comes through.
  "POST /organization/switch": async ({ token, body }) => {
    const { rows } = await query(
      token, "SELECT platform.set_user_active_org(platform.current_user_id(), $1) AS switched", [body.organization],
    );
    if (!rows[0].switched) throw new Refused(403, "not a member of this organisation");
    return rows[0];
  },
};

/** What PostgreSQL or pgwarden refuses, as HTTP says it. */
const STATUS = { 28000: 401, 42501: 403, 23505: 409, "57P03": 503 };

async function answer(request) {
  const route = ROUTES[`${request.method} ${request.url}`];
  if (!route) throw new Refused(404, "no such route");
  let text = "";
  for await (const chunk of request) text += chunk;
  const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
  return route({ token, body: text ? JSON.parse(text) : {} });
}

const server = createServer(async (request, response) => {
  let [status, found] = [200, undefined];
  try {
    found = await answer(request);
  } catch (error) {
    [status, found] = [error.status ?? STATUS[error.code] ?? 500, { error: error.message }];
  }
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(found));
});
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
