-- What the observer asks: one document, so that everything in it belongs together. $1 is the hash of the document that
-- is known already; then only the hash comes back.
WITH shadow AS (
    SELECT oid, rolname FROM pg_catalog.pg_roles WHERE rolname ~ '^pgwarden_shadow(_[0-9]+)?$'
), relation AS (
    SELECT c.oid, c.relname, c.relkind, c.relispartition, c.relhasrules, c.relrowsecurity, c.relforcerowsecurity, n.nspname
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgwarden') AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
), attribute AS (
    SELECT a.attrelid,
           pg_catalog.json_agg(pg_catalog.json_build_object(
               'number', a.attnum, 'name', a.attname, 'type', a.atttypid::pg_catalog.int8,
               'base', CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE a.atttypid END::pg_catalog.int8,
               'category', t.typtype,
               'type_name', pg_catalog.format_type(a.atttypid, -1), 'generated', a.attgenerated) ORDER BY a.attnum) AS columns
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid IN (SELECT oid FROM relation) AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY a.attrelid
), policy AS (
    SELECT p.polrelid,
           pg_catalog.json_agg(pg_catalog.json_build_object(
               'name', p.polname, 'command', p.polcmd, 'permissive', p.polpermissive,
               'roles', (SELECT pg_catalog.json_agg(coalesce(r.rolname, 'public') ORDER BY r.rolname)
                         FROM pg_catalog.unnest(p.polroles) AS role
                         LEFT JOIN pg_catalog.pg_roles r ON r.oid = role),
               'binds', (SELECT coalesce(pg_catalog.json_agg(s.rolname ORDER BY s.rolname), '[]')
                         FROM shadow s
                         WHERE 0 = ANY (p.polroles)
                            OR EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) AS role
                                       WHERE role <> 0 AND pg_catalog.pg_has_role(s.oid, role, 'USAGE'))),
               'using', pg_catalog.pg_get_expr(p.polqual, p.polrelid),
               'check', pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid),
               'columns', (SELECT coalesce(pg_catalog.json_agg(DISTINCT d.refobjsubid), '[]')
                           FROM pg_catalog.pg_depend d
                           WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid = p.oid
                             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                             AND d.refobjid = p.polrelid AND d.refobjsubid > 0),
               'volatile', (SELECT pg_catalog.min(f.oid::pg_catalog.regprocedure::pg_catalog.text)
                            FROM pg_catalog.pg_depend d
                            JOIN pg_catalog.pg_proc f ON f.oid = d.refobjid AND f.provolatile = 'v'
                            WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid = p.oid
                              AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass),
               'volatile_built_in', (SELECT pg_catalog.min(f.proname)
                            FROM pg_catalog.regexp_matches(
                                     pg_catalog.concat_ws(' ', pg_catalog.pg_get_expr(p.polqual, p.polrelid),
                                                          pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)),
                                     '([a-z_0-9]+)\(', 'g') AS called(name)
                            JOIN pg_catalog.pg_proc f ON f.proname = called.name[1] AND f.provolatile = 'v'
                                AND f.pronamespace = 'pg_catalog'::pg_catalog.regnamespace)
           ) ORDER BY p.polname) AS policies
    FROM pg_catalog.pg_policy p
    GROUP BY p.polrelid
), trigger AS (
    SELECT t.tgrelid,
           pg_catalog.json_agg(pg_catalog.json_build_object(
               'name', t.tgname, 'enabled', t.tgenabled, 'events', t.tgtype,
               'own', EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.oid = f.pronamespace AND n.nspname = 'pgwarden'),
               'digest', pg_catalog.substring(f.prosrc, 'digest ([0-9a-f]{64})')
           ) ORDER BY t.tgname) AS triggers
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND t.tgrelid IN (SELECT polrelid FROM policy)
    GROUP BY t.tgrelid
), called AS (
    SELECT c.relation, pg_catalog.json_agg(DISTINCT f.proname) AS functions
    FROM (SELECT t.tgrelid AS relation, t.tgfoid AS function FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal
          UNION
          SELECT a.adrelid, d.refobjid FROM pg_catalog.pg_attrdef a
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = a.oid
          WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
          UNION
          SELECT k.conrelid, d.refobjid FROM pg_catalog.pg_constraint k
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid
          WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass) AS c
    JOIN pg_catalog.pg_proc f ON f.oid = c.function
    JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'pgwarden')
    GROUP BY c.relation
), function AS (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
               'name', f.proname, 'language', l.lanname,
               'source', coalesce(pg_catalog.regexp_replace(pg_catalog.pg_get_function_sqlbody(f.oid), '^RETURN ', 'SELECT '), f.prosrc))
               ORDER BY f.oid) AS functions
    FROM pg_catalog.pg_proc f
    JOIN pg_catalog.pg_language l ON l.oid = f.prolang
    JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
    WHERE EXISTS (SELECT FROM shadow) AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgwarden')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = f.oid AND d.deptype = 'e')
), document AS (
    SELECT pg_catalog.json_build_object(
        'shadow', (SELECT coalesce(pg_catalog.json_agg(rolname ORDER BY rolname), '[]') FROM shadow),
        'functions', coalesce((SELECT functions FROM function), '[]'),
        'memberships', (
            WITH RECURSIVE bound AS (
                SELECT m.roleid, m.member, pg_catalog.to_jsonb(m) ->> 'inherit_option' AS inherits
                FROM pg_catalog.pg_auth_members m
                WHERE m.roleid IN (SELECT pg_catalog.unnest(p.polroles) FROM pg_catalog.pg_policy p)
                  AND m.roleid NOT IN (SELECT oid FROM shadow)
                UNION SELECT m.roleid, m.member, pg_catalog.to_jsonb(m) ->> 'inherit_option'
                FROM pg_catalog.pg_auth_members m JOIN bound b ON m.roleid = b.member)
            SELECT coalesce(pg_catalog.json_agg(pg_catalog.concat_ws(' ', b.roleid, b.member, b.inherits, r.rolinherit)
                                                ORDER BY b.roleid, b.member, b.inherits), '[]')
            FROM bound b JOIN pg_catalog.pg_roles r ON r.oid = b.member),
        'relations', coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
            'oid', r.oid::pg_catalog.int8, 'schema', r.nspname, 'name', r.relname, 'kind', r.relkind,
            'partition', r.relispartition,
            'row_security', CASE WHEN NOT r.relrowsecurity THEN 'off' WHEN r.relforcerowsecurity THEN 'forced' ELSE 'on' END,
            'root', CASE WHEN r.relispartition THEN pg_catalog.pg_partition_root(r.oid)::pg_catalog.oid::pg_catalog.int8 END,
            'columns', coalesce(a.columns, '[]'),
            'policies', coalesce(p.policies, '[]'),
            'triggers', coalesce(g.triggers, '[]'),
            'children', CASE WHEN p.policies IS NOT NULL AND EXISTS (
                WITH RECURSIVE child AS (
                    SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = r.oid
                    UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN child c ON i.inhparent = c.inhrelid)
                SELECT FROM child JOIN pg_catalog.pg_class f ON f.oid = child.inhrelid WHERE f.relkind = 'f')
                THEN 'foreign' ELSE 'here' END,
            'cascades', p.policies IS NOT NULL AND EXISTS (
                SELECT FROM pg_catalog.pg_constraint f
                WHERE f.contype = 'f' AND f.conrelid = r.oid
                  AND (f.confdeltype IN ('c', 'n', 'd') OR f.confupdtype IN ('c', 'n', 'd'))),
            'besides', pg_catalog.json_build_object(
                'calls', coalesce(k.functions, '[]'), 'rules', r.relhasrules AND r.relkind IN ('r', 'p'),
                'follows', (SELECT coalesce(pg_catalog.json_agg(DISTINCT f.confrelid::pg_catalog.int8), '[]')
                            FROM pg_catalog.pg_constraint f
                            WHERE f.contype = 'f' AND f.conrelid = r.oid
                              AND (f.confdeltype IN ('c', 'n', 'd') OR f.confupdtype IN ('c', 'n', 'd')))),
            'definition', CASE WHEN r.relkind = 'v' THEN (
                SELECT w.ev_action::pg_catalog.text FROM pg_catalog.pg_rewrite w
                WHERE w.ev_class = r.oid AND w.ev_type = '1') END
        ) ORDER BY r.oid), '[]'))::pg_catalog.text AS body
    FROM relation r
    LEFT JOIN attribute a ON a.attrelid = r.oid
    LEFT JOIN policy p ON p.polrelid = r.oid
    LEFT JOIN trigger g ON g.tgrelid = r.oid
    LEFT JOIN called k ON k.relation = r.oid
)
SELECT pg_catalog.md5(body), CASE WHEN pg_catalog.md5(body) <> $1 THEN body END FROM document
