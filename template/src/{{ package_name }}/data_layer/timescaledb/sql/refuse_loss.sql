-- Refuse to drop an aggregate that would be built anew without buckets which it has now.
DO $loss$
DECLARE
    found record;
    lost timestamptz;
BEGIN
    SELECT
        column_name,
        source.hypertable_name AS source,
        greatest(
            now() - (retention.config ->> 'drop_after')::interval,
            pg_temp.refreshable_since(<'name'>)
        ) AS since
    INTO found
    FROM <sources>
    JOIN timescaledb_information.dimensions AS dimension
        ON dimension.hypertable_schema = upper.materialization_hypertable_schema
        AND dimension.hypertable_name = upper.materialization_hypertable_name
    CROSS JOIN LATERAL (
        SELECT coalesce(lower.view_name, upper.hypertable_name) AS hypertable_name
    ) AS source
    WHERE format('%I.%I', upper.view_schema, upper.view_name)::regclass = <'name'>::regclass;
    IF found.since IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT min(%I) FROM %s', found.column_name, <'name'>::regclass) INTO lost;
    IF lost < found.since THEN
        RAISE EXCEPTION
            'The aggregate % has buckets from % on, but % has its rows only since %: to build it anew '
            'would lose what is older. Declare the new SELECT under another name; or take '
            'rebuilt=True out of the migration, to lose it.',
            <'name'>::regclass, lost, found.source, found.since;
    END IF;
END $loss$
