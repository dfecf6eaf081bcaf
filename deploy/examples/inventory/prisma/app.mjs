// The inventory over HTTP, on Prisma. Nothing in it knows of organisations but the line that reads the API key.

import { createServer } from "node:http";
import { PrismaPg } from "@prisma/adapter-pg";
import generated from "./generated/index.js";
import { acting, tenants } from "./tenants.mjs";

const adapter = new PrismaPg({ connectionString: process.env.DATABASE_URL, max: 8 });
const prisma = new generated.PrismaClient({ adapter }).$extends(tenants);

/** Books a movement; `undefined` where there is not enough. */
function move(itemNumber, quantity) {
  return prisma.$transaction(async (tx) => {
    const item = await tx.item.findFirstOrThrow({ where: { itemNumber } });
    const location = await tx.location.findFirstOrThrow({ where: { name: "Shelf 1" } });
    // One movement of an item at a time.
    await tx.$queryRaw`SELECT FROM items WHERE id = ${item.id}::uuid FOR UPDATE`;
    await tx.ledgerEntry.create({ data: { itemId: item.id, locationId: location.id, qtyCanonical: quantity, reason: "moved" } });
    const place = { itemId: item.id, locationId: location.id, lotId: "" };
    const balance = await tx.balance.findFirstOrThrow({ where: place });
    if (balance.qtyCanonical < 0) throw new NotEnough();
    return { org: balance.orgId, balance: Number(balance.qtyCanonical) };
  }, { maxWait: 60_000, timeout: 60_000 });
}

class NotEnough extends Error {}

async function answer(request) {
  const url = new URL(request.url, "http://inventory");
  const [item, quantity] = [url.searchParams.get("item"), Number(url.searchParams.get("qty"))];
  switch (`${request.method} ${url.pathname}`) {
    case "GET /items":
      return (await prisma.item.findMany({ orderBy: { itemNumber: "asc" } }))
        .map((one) => ({ org: one.orgId, item: one.itemNumber, description: one.description }));
    case "GET /item": {
      // By its primary key, which somebody of another organisation may have got hold of.
      const one = await prisma.item.findUnique({ where: { id: url.searchParams.get("id") } });
      return one === null ? [] : [{ org: one.orgId, item: one.itemNumber, description: one.description }];
    }
    case "POST /move":
      return [await move(item, quantity)];
    default:
      return [];
  }
}

/** The status for an error: what pgwarden refuses says who asks is not known, or may not. */
function status(error) {
  const code = error.meta?.code ?? error.meta?.driverAdapterError?.cause?.originalCode ?? error.cause?.originalCode;
  return error instanceof NotEnough ? 409 : { "28000": 401, "42501": 403 }[code] ?? 500;
}

createServer(async (request, response) => {
  try {
    const rows = await acting.run(request.headers["x-api-key"], () => answer(request));
    response.setHeader("Content-Type", "application/json").end(JSON.stringify(rows));
  } catch (error) {
    if (status(error) === 500) console.error(error);
    response.writeHead(status(error)).end();
  }
}).listen(Number(process.env.PORT ?? 8000), "127.0.0.1");
