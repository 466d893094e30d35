-- From when on an aggregate can be refreshed and loses nothing; NULL for any time. What a retention
-- says now doesn't tell: a shorter one may have dropped more. So this looks for buckets of the
-- aggregate where its source has no chunk. A gap with two of them holds a whole one, whose rows are
-- gone for sure. One alone before the oldest chunk may as well have begun before the first row came:
-- such a bucket stays within reach as far as the policy reaches by now.
CREATE OR REPLACE FUNCTION pg_temp.refreshable_since(aggregate regclass)
RETURNS timestamptz LANGUAGE plpgsql SET timezone = 'UTC' AS $since$
DECLARE
    upper record;
    gap record;
    lowest text;
    highest text;
    lost timestamptz := '-infinity';
    perhaps_lost timestamptz := '-infinity';
BEGIN
    SELECT
        view.materialization_hypertable_schema AS schema,
        view.materialization_hypertable_name AS name,
        view.hypertable_schema AS source_schema,
        view.hypertable_name AS source,
        dimension.column_name,
        dimension.column_type,
        job.job_id IS NOT NULL AS is_refreshed,
        (job.config ->> 'start_offset')::interval AS start_offset
    INTO upper
    FROM timescaledb_information.continuous_aggregates AS view
    JOIN timescaledb_information.dimensions AS dimension
        ON dimension.hypertable_schema = view.materialization_hypertable_schema
        AND dimension.hypertable_name = view.materialization_hypertable_name
    LEFT JOIN timescaledb_information.jobs AS job
        ON job.hypertable_schema = view.view_schema AND job.hypertable_name = view.view_name
        AND job.config ? 'mat_hypertable_id'
    WHERE format('%I.%I', view_schema, view_name)::regclass = aggregate;
    FOR gap IN
        WITH chunks AS (
            SELECT range_start, range_end FROM timescaledb_information.chunks
            WHERE hypertable_schema = upper.source_schema AND hypertable_name = upper.source
            UNION ALL SELECT 'infinity', 'infinity'
        )
        SELECT * FROM (
            SELECT
                coalesce(max(range_end) OVER earlier, '-infinity') AS since, range_start AS until
            FROM chunks
            WINDOW earlier AS (
                ORDER BY range_start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        ) AS gaps WHERE since < until ORDER BY until
    LOOP
        EXECUTE format(
            'SELECT min(%1$I)::text, max(%1$I)::text FROM %2$I.%3$I '
            'WHERE %1$I >= $1::%4$s AND %1$I < $2::%4$s',
            upper.column_name, upper.schema, upper.name, upper.column_type
        ) INTO lowest, highest USING gap.since, gap.until;
        IF lowest <> highest THEN
            lost := gap.until;
        ELSIF lowest IS NOT NULL AND gap.since = '-infinity' THEN
            perhaps_lost := gap.until;
        END IF;
    END LOOP;
    IF upper.is_refreshed THEN
        perhaps_lost := least(perhaps_lost, coalesce(now() - upper.start_offset, '-infinity'));
        lost := greatest(lost, perhaps_lost);
    END IF;
    RETURN nullif(least(lost, now()), '-infinity');
END $since$
