-- A table with a policy, filled with rows of every tenant.
CREATE TABLE "labels" ("id" SERIAL PRIMARY KEY, "org_id" UUID NOT NULL DEFAULT org(), "name" TEXT);
ALTER TABLE "labels" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "labels" FORCE ROW LEVEL SECURITY;
CREATE POLICY "tenant" ON "labels" USING ("org_id" = org());
INSERT INTO "labels" ("org_id", "name") SELECT DISTINCT "org_id", 'of ' || "org_id" FROM "notes";
