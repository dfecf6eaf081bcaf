// A small API over the example call centre, with postgres.js. One pool serves every organisation.
//
//     DATABASE_URL=postgres://app:…@localhost:6432/calls PORT=3000 node server.mjs

import { createServer } from "node:http";
import postgres from "postgres";

const sql = postgres(process.env.DATABASE_URL, { max: Number(process.env.POOL_SIZE ?? 4), onnotice: () => {} });

/** A transaction for who sent the request. */
const transaction = (token, work) =>
  sql.begin(async (tx) => {
    await tx`SELECT set_config('pgwarden.token', ${token}, true)`; // the one line for pgwarden: it never reaches the server
    return work(tx);
  });

const ROUTES = {
  "GET /whoami": ({ token }) =>
    transaction(token, async (tx) => {
      const [row] = await tx`SELECT current_user AS role, auth.uid() AS "user", public.auth_org_id() AS organization`;
      return row;
    }),

  "GET /calls": ({ token }) =>
    transaction(token, async (tx) => [...(await tx`SELECT id::int, phone, status FROM calls ORDER BY id`)]),

  // The user and the organisation of a new row are those of the token.
  "POST /calls": ({ token, body }) =>
    transaction(token, async (tx) => {
      const [call] = await tx`INSERT INTO calls (phone) VALUES (${body.phone}) RETURNING id::int, phone, status`;
      await tx`INSERT INTO call_logs (call_id, line) VALUES (${call.id}, 'began')`;
      return call;
    }),

  "PATCH /calls": ({ token, body }) =>
    transaction(token, async (tx) => {
      const [call] = await tx`UPDATE calls SET status = ${body.status} WHERE id = ${body.id} RETURNING id::int, phone, status`;
      return call ?? null;
    }),
};

/** What PostgreSQL or pgwarden refuses, as HTTP says it. */
const STATUS = { 28000: 401, 42501: 403, "57P03": 503 };

async function answer(request) {
  const route = ROUTES[`${request.method} ${request.url}`];
  if (!route) return [404, { error: "no such route" }];
  let text = "";
  for await (const chunk of request) text += chunk;
  const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
  try {
    const found = await route({ token, body: text ? JSON.parse(text) : {} });
    return found ? [200, found] : [404, { error: "no such call" }];
  } catch (error) {
    return [STATUS[error.code] ?? 500, { error: error.message }];
  }
}

const server = createServer(async (request, response) => {
  const [status, found] = await answer(request);
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(found));
});
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
