-- The audit trail as a table: every record of every pgwarden that is told to deliver to this database. It can be appended
-- to, and nothing else.
--
-- Run it once in the database of the trail, and again after an upgrade of pgwarden: what is there stays. It needs a
-- superuser, or a role with CREATEROLE that may create schemas. Idempotent, PostgreSQL 14 to 18.
--
--     pgwarden sql audit | psql -d audit
--     psql -d audit -c "CREATE ROLE audit_writer LOGIN PASSWORD '…'" -c "GRANT pgwarden_audit_writer TO audit_writer"
--
-- and in the configuration: [audit.postgres] url = "postgres://audit_writer@…/audit".
--
-- Who may read the trail is for you to say: GRANT USAGE ON SCHEMA pgwarden TO …; GRANT SELECT ON pgwarden.audit TO ….
-- What no record can be kept from is the owner of the table, or a superuser: against those there are the hashes, which
-- cover each record with all in front of it, and the signed checkpoints (`pgwarden audit verify`).
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;

-- The owner of all this is nobody's login. Writers get the right to append by being members of the other role.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pgwarden_audit') THEN
        CREATE ROLE pgwarden_audit NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pgwarden_audit_writer') THEN
        CREATE ROLE pgwarden_audit_writer NOLOGIN;
    END IF;
    -- Who is no superuser acts as the owner by a membership, which ends with this script.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper)
        AND (current_setting('server_version_num')::int >= 160000 OR NOT pg_has_role('pgwarden_audit', 'MEMBER')) THEN
        GRANT pgwarden_audit TO CURRENT_USER;
        PERFORM set_config('pgwarden.installer', 'member', true);
    ELSE
        PERFORM set_config('pgwarden.installer', '', true);
    END IF;
    -- Where it was taken from everybody, to harden the server.
    IF NOT has_language_privilege('pgwarden_audit', 'plpgsql', 'USAGE') THEN
        GRANT USAGE ON LANGUAGE plpgsql TO pgwarden_audit;
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS pgwarden;
GRANT USAGE, CREATE ON SCHEMA pgwarden TO pgwarden_audit;
GRANT USAGE ON SCHEMA pgwarden TO pgwarden_audit_writer;

SET LOCAL ROLE pgwarden_audit;

-- `record` is the line of the trail, letter by letter, so that its hash can be computed again. The other columns repeat
-- what is asked for most.
CREATE TABLE IF NOT EXISTS pgwarden.audit (
    time        timestamptz NOT NULL,
    id          uuid NOT NULL,
    instance    text,
    seq         bigint NOT NULL,
    kind        text NOT NULL,
    severity    text,
    mode        text,
    decision    text,
    finding     text,
    count       bigint,
    tenant      text,
    actor       text,
    database    text,
    schema_name text,
    table_name  text,
    policy      text,
    command     text,
    fingerprint text,
    record      json NOT NULL,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time);

CREATE INDEX IF NOT EXISTS audit_by_time ON pgwarden.audit (time);
CREATE INDEX IF NOT EXISTS audit_by_finding ON pgwarden.audit (finding, time) WHERE finding IS NOT NULL;

-- What is in no month of its own: records of a clock that is far off.
CREATE TABLE IF NOT EXISTS pgwarden.audit_other PARTITION OF pgwarden.audit DEFAULT;

CREATE OR REPLACE FUNCTION pgwarden.audit_refuse_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail can only be appended to'
        USING ERRCODE = 'insufficient_privilege',
            DETAIL = format('%s on %I.%I was refused.', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME),
            HINT = 'Whole months that are no longer needed are dropped by pgwarden.audit_drop_before().';
END
$$;
REVOKE ALL ON FUNCTION pgwarden.audit_refuse_change() FROM PUBLIC;

-- Triggers that fire for everybody, the owner and replication included. Those for rows come to each partition with it;
-- that for TRUNCATE has to be made there.
CREATE OR REPLACE FUNCTION pgwarden.audit_guard(relation pg_catalog.regclass) RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND tgname = 'audit_is_not_changed') THEN
        EXECUTE format('CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE ON %s '
                       'FOR EACH ROW EXECUTE FUNCTION pgwarden.audit_refuse_change()', relation);
    END IF;
    EXECUTE format('CREATE OR REPLACE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION pgwarden.audit_refuse_change()', relation);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER audit_is_not_changed', relation);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER audit_is_not_emptied', relation);
END
$$;
REVOKE ALL ON FUNCTION pgwarden.audit_guard(pg_catalog.regclass) FROM PUBLIC;

SELECT pgwarden.audit_guard('pgwarden.audit'), pgwarden.audit_guard('pgwarden.audit_other');

-- Makes the partition of a month, unless it is there. Writers that meet here wait for each other.
CREATE OR REPLACE FUNCTION pgwarden.audit_month(month pg_catalog.date) RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name pg_catalog.text := format('audit_%s', to_char(month, 'YYYY_MM'));
BEGIN
    IF to_regclass(format('pgwarden.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('pgwarden.audit'), hashtext(name));
    IF to_regclass(format('pgwarden.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE pgwarden.%I PARTITION OF pgwarden.audit FOR VALUES FROM (%L) TO (%L)', name,
                   month::pg_catalog.timestamp AT TIME ZONE 'UTC',
                   (month + interval '1 month')::pg_catalog.timestamp AT TIME ZONE 'UTC');
    PERFORM pgwarden.audit_guard(format('pgwarden.%I', name)::regclass);
EXCEPTION WHEN check_violation THEN
    -- Records of this month are among the others already: they stay together there.
    NULL;
END
$$;
REVOKE ALL ON FUNCTION pgwarden.audit_month(pg_catalog.date) FROM PUBLIC;

-- Appends records, an array of JSON, and says how many of them were new. It is all that a writer may do.
CREATE OR REPLACE FUNCTION pgwarden.audit_append(records pg_catalog.text) RETURNS pg_catalog.int8
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month    pg_catalog.date;
    appended pg_catalog.int8;
BEGIN
    -- The month after this one as well, so that nobody waits for it when it begins.
    FOR month IN
        SELECT date_trunc('month', (one.value ->> 'time')::timestamptz)::date FROM json_array_elements(records::json) AS one
        WHERE (one.value ->> 'time')::timestamptz
            BETWEEN now() - interval '10 years' AND now() + interval '1 month'
        UNION SELECT date_trunc('month', now() + interval '1 month')::date
        ORDER BY 1
    LOOP
        PERFORM pgwarden.audit_month(month);
    END LOOP;
    INSERT INTO pgwarden.audit (time, id, instance, seq, kind, severity, mode, decision, finding, count, tenant, actor,
                                database, schema_name, table_name, policy, command, fingerprint, record)
    SELECT (one.value ->> 'time')::timestamptz, (one.value ->> 'id')::uuid, one.value #>> '{proxy,instance}',
        (one.value ->> 'seq')::int8, one.value ->> 'kind', one.value ->> 'severity', one.value ->> 'mode',
        one.value ->> 'decision', one.value ->> 'finding', (one.value ->> 'count')::int8, one.value #>> '{tenant,id}',
        one.value #>> '{actor,user}', one.value #>> '{backend,database}', one.value #>> '{target,schema}',
        one.value #>> '{target,table}', one.value #>> '{target,policy}', one.value ->> 'command',
        one.value #>> '{query,fingerprint}', one.value
    FROM json_array_elements(records::json) AS one
    ON CONFLICT (id, time) DO NOTHING;
    GET DIAGNOSTICS appended = ROW_COUNT;
    RETURN appended;
END
$$;
REVOKE ALL ON FUNCTION pgwarden.audit_append(pg_catalog.text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgwarden.audit_append(pg_catalog.text) TO pgwarden_audit_writer;

-- Drops the months that end before a day, and says which. For the owner alone.
CREATE OR REPLACE FUNCTION pgwarden.audit_drop_before(day pg_catalog.date) RETURNS SETOF pg_catalog.text
    LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name pg_catalog.text;
BEGIN
    FOR name IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'pgwarden.audit'::regclass AND relname ~ '^audit_\d{4,}_\d\d$'
            AND to_date(substr(relname, 7), 'YYYY_MM') + interval '1 month' <= day
        ORDER BY relname
    LOOP
        EXECUTE format('DROP TABLE pgwarden.%I', name);
        RETURN NEXT name;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION pgwarden.audit_drop_before(pg_catalog.date) FROM PUBLIC;

RESET ROLE;
DO $$
BEGIN
    IF current_setting('pgwarden.installer') = 'member' THEN
        REVOKE pgwarden_audit FROM CURRENT_USER;
    END IF;
END
$$;

COMMIT;
