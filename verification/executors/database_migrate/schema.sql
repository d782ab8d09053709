-- What a PostgreSQL schema consists of, one line for each thing, always in the same order and words.
WITH spaces AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), relations AS (
    SELECT c.oid, c.relkind, format('%%I.%%I', s.nspname, c.relname) AS name
    FROM pg_class AS c JOIN spaces AS s ON s.oid = c.relnamespace
    WHERE c.relname NOT IN (%s, %s)
)
SELECT 'schema' AS what, nspname::text AS name, '' AS about FROM spaces
UNION ALL
SELECT 'relation', name, relkind::text || ' ' || coalesce(CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END, '')
FROM relations
UNION ALL
SELECT 'column', format('%%s.%%I', r.name, a.attname),
    format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || a.attidentity::text || a.attgenerated::text || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM relations AS r JOIN pg_attribute AS a ON a.attrelid = r.oid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')
UNION ALL
SELECT 'constraint', format('%%s.%%I', r.name, c.conname), pg_get_constraintdef(c.oid)
FROM pg_constraint AS c JOIN relations AS r ON r.oid = c.conrelid
UNION ALL
SELECT 'index', r.name, pg_get_indexdef(r.oid) FROM relations AS r WHERE r.relkind IN ('i', 'I')
UNION ALL
SELECT 'trigger', format('%%s.%%I', r.name, t.tgname), pg_get_triggerdef(t.oid)
FROM pg_trigger AS t JOIN relations AS r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'policy', format('%%s.%%I', r.name, p.polname),
    p.polcmd::text || coalesce(' ' || pg_get_expr(p.polqual, p.polrelid), '')
        || coalesce(' ' || pg_get_expr(p.polwithcheck, p.polrelid), '')
FROM pg_policy AS p JOIN relations AS r ON r.oid = p.polrelid
UNION ALL
SELECT 'routine', format('%%I.%%I(%%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
    pg_get_functiondef(p.oid)
FROM pg_proc AS p JOIN spaces AS s ON s.oid = p.pronamespace WHERE p.prokind IN ('f', 'p')
UNION ALL
SELECT 'type', format('%%I.%%I', s.nspname, t.typname),
    t.typtype::text || coalesce(' ' || format_type(t.typbasetype, t.typtypmod), '') || coalesce(
        ' ' || (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid),
        '')
FROM pg_type AS t JOIN spaces AS s ON s.oid = t.typnamespace WHERE t.typtype IN ('d', 'e', 'r')
ORDER BY 1, 2, 3
