-- A column with a value in every tenant's rows.
ALTER TABLE "notes" ADD COLUMN "title" TEXT;
UPDATE "notes" SET "title" = upper("body");
ALTER TABLE "notes" ALTER COLUMN "title" SET NOT NULL;
ALTER TABLE "notes" ALTER COLUMN "title" SET DEFAULT '';
CREATE INDEX "notes_title" ON "notes" ("title");
