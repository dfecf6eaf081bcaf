-- Who logs in to the server. Idempotent; run as a superuser. No passwords here: set them with ALTER ROLE … PASSWORD.

DO $$
BEGIN
    IF to_regrole('inventory') IS NULL THEN CREATE ROLE inventory; END IF;
    IF to_regrole('inventory_service') IS NULL THEN CREATE ROLE inventory_service; END IF;
    IF to_regrole('inventory_lookup') IS NULL THEN CREATE ROLE inventory_lookup; END IF;
END $$;

-- The application. It owns its tables, as ORMs like it: policies bind an owner only where row level security is FORCEd.
ALTER ROLE inventory LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Migrations and jobs for all organisations. Nothing that serves requests may log in as this role.
ALTER ROLE inventory_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS;
GRANT inventory TO inventory_service;
-- pgwarden's own: asks whose an API key is, and who belongs where. 03-organisations.sql grants what it may read.
ALTER ROLE inventory_lookup LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS;
