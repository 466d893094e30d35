-- Make a hypertable a plain table: copy it, and give the copy its name at the end.
-- The index of a constraint is created with the constraint, and TimescaleDB's own triggers are
-- dropped with the hypertable.
DO $convert$
DECLARE
    hypertable regclass := <relation>;
    definitions text[];
    definition text;
    names text;
    item record;
BEGIN
    LOCK TABLE <name> IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM pg_policy WHERE polrelid = hypertable) THEN
        RAISE EXCEPTION
            'The table % has row-level security policies, which the copy would lack: drop them '
            'before, and create them again after.', hypertable;
    END IF;
    definitions := ARRAY(
        SELECT pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid = hypertable AND NOT EXISTS (
            SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid
        )
    ) || ARRAY(
        SELECT format(
            'ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
            pg_get_constraintdef(oid)
        )
        FROM pg_constraint WHERE conrelid = hypertable AND contype IN ('p', 'u', 'f', 'x')
        ORDER BY contype <> 'p', conname
    ) || ARRAY(
        SELECT pg_get_triggerdef(oid) FROM pg_trigger
        WHERE tgrelid = hypertable AND NOT tgisinternal AND tgname NOT LIKE 'ts\_%'
    ) || ARRAY(
        SELECT format(
            'ALTER TABLE %s OWNER TO %I', hypertable, pg_get_userbyid(relowner)
        )
        FROM pg_class WHERE oid = hypertable
        UNION ALL
        SELECT format('ALTER TABLE %s SET (%s)', hypertable, array_to_string(reloptions, ', '))
        FROM pg_class WHERE oid = hypertable AND reloptions IS NOT NULL
        UNION ALL
        SELECT format(
            'GRANT %s %s ON %s TO %s %s', privilege_type, columns, hypertable,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
            CASE WHEN is_grantable THEN 'WITH GRANT OPTION' END
        )
        FROM (
            SELECT relacl, '' FROM pg_class WHERE oid = hypertable
            UNION ALL
            SELECT attacl, format('(%I)', attname) FROM pg_attribute WHERE attrelid = hypertable
        ) AS rights (acl, columns), aclexplode(acl)
        WHERE grantee <> (SELECT relowner FROM pg_class WHERE oid = hypertable)
        UNION ALL
        SELECT format('COMMENT ON TABLE %s IS %L', hypertable, description)
        FROM pg_description
        WHERE objoid = hypertable AND classoid = 'pg_class'::regclass AND objsubid = 0
    );
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names FROM pg_attribute
    WHERE attrelid = hypertable AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    CREATE TABLE <plain> (LIKE <name> INCLUDING ALL EXCLUDING INDEXES);
    EXECUTE format(
        'INSERT INTO <plain> (%1$s) OVERRIDING SYSTEM VALUE SELECT %1$s FROM <name>', names
    );
    FOR item IN
        SELECT
            attname AS name,
            attidentity <> '' AS is_identity,
            pg_get_serial_sequence(<relation>, attname) AS sequence
        FROM pg_attribute WHERE attrelid = hypertable AND attnum > 0 AND NOT attisdropped
    LOOP
        IF item.is_identity THEN
            PERFORM setval(
                pg_get_serial_sequence(<copy>, item.name), nextval(item.sequence), false
            );
        ELSIF item.sequence IS NOT NULL THEN
            EXECUTE format('ALTER SEQUENCE %s OWNED BY <plain>.%I', item.sequence, item.name);
        END IF;
    END LOOP;
    DROP TABLE <name>;
    ALTER TABLE <plain> RENAME TO <new>;
    FOREACH definition IN ARRAY definitions LOOP
        EXECUTE definition;
    END LOOP;
END $convert$
