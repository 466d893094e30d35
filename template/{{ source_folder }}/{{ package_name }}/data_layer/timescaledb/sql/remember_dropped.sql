-- Before a retention changes, record how much it may have dropped, with each aggregate that has older
-- buckets. Rows that come for that time make chunks again, as if none had ever been dropped there.
DO $remember$
DECLARE
    aggregate record;
    older boolean;
BEGIN
    FOR aggregate IN
        SELECT
            refresh.job_id,
            refresh.config,
            format('%I.%I', upper.view_schema, upper.view_name) AS name,
            dimension.column_name AS bucket,
            now() - (retention.config ->> 'drop_after')::interval AS since
        FROM <sources>
        JOIN timescaledb_information.jobs AS refresh
            ON refresh.hypertable_schema = upper.view_schema
            AND refresh.hypertable_name = upper.view_name
            AND refresh.config ? 'mat_hypertable_id'
        WHERE retention.job_id IS NOT NULL
            AND to_regclass(format('%I.%I', source.schema, source.name)) = <relation>::regclass
    LOOP
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM %s WHERE %I < $1)', aggregate.name, aggregate.bucket
        ) INTO older USING aggregate.since;
        PERFORM alter_job(aggregate.job_id, config => aggregate.config || jsonb_build_object(
            'refreshable_since',
            greatest(aggregate.since, (aggregate.config ->> 'refreshable_since')::timestamptz)
        )) WHERE older;
    END LOOP;
END $remember$
