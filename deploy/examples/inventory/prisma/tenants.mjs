// What makes a Prisma application multi-tenant behind pgwarden: one client, one pool, and whoever a request acts for
// shown in front of each transaction.

import { AsyncLocalStorage } from "node:async_hooks";

/** The API key of the request that is being served: `acting.run(key, handler)`. None: the default organisation. */
export const acting = new AsyncLocalStorage();

// Taken out of the statement by pgwarden, and looked up there; the server never sees it.
const show = (client, key) => client.$executeRaw`SELECT set_config('pgwarden.token', ${key}, true)`;

/** The extension: `new PrismaClient(…).$extends(tenants)`. */
export const tenants = (prisma) => prisma.$extends({
  query: {
    async $allOperations({ args, query }) {
      const key = acting.getStore();
      return key === undefined ? query(args) : (await prisma.$transaction([show(prisma, key), query(args)]))[1];
    },
  },
  client: {
    // Interactive transactions; `tx` is of the client without the extension.
    $transaction(work, options) {
      if (typeof work !== "function") throw new TypeError("write $transaction(async (tx) => …)");
      return prisma.$transaction(async (tx) => {
        const key = acting.getStore();
        if (key !== undefined) await show(tx, key);
        return work(tx);
      }, options);
    },
  },
});
