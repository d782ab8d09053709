-- Drops everything a dump holds, so that nothing of what came after it stays. Extensions stay as they are.
DO $grace$
DECLARE
    command text;
    commands text[];
BEGIN
    WITH spaces AS (
        SELECT oid, nspname FROM pg_namespace AS n
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
            AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = n.oid AND d.deptype = 'e')
    ), wanted AS (
        SELECT 1 AS turn, format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) AS said
        FROM spaces WHERE nspname <> 'public'
        UNION ALL
        SELECT 2, format('DROP %s IF EXISTS %I.%I CASCADE',
            CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, s.nspname, c.relname)
        FROM pg_class AS c JOIN spaces AS s ON s.oid = c.relnamespace
        WHERE s.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
            AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype IN ('e', 'i', 'a'))
        UNION ALL
        SELECT 3, format('DROP ROUTINE IF EXISTS %I.%I(%s) CASCADE', s.nspname, p.proname,
            pg_get_function_identity_arguments(p.oid))
        FROM pg_proc AS p JOIN spaces AS s ON s.oid = p.pronamespace
        WHERE s.nspname = 'public'
            AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype IN ('e', 'i'))
        UNION ALL
        SELECT 4, format('DROP TYPE IF EXISTS %I.%I CASCADE', s.nspname, t.typname)
        FROM pg_type AS t JOIN spaces AS s ON s.oid = t.typnamespace
        WHERE s.nspname = 'public' AND t.typtype IN ('d', 'e', 'r')
            AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = t.oid AND d.deptype = 'e')
    )
    SELECT array_agg(said ORDER BY turn, said) INTO commands FROM wanted;
    FOREACH command IN ARRAY coalesce(commands, ARRAY[]::text[]) LOOP
        EXECUTE command;
    END LOOP;
END
$grace$;
