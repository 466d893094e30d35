-- How far back an aggregate can be refreshed without a loss. `since` is the earliest begin, `lost` the same
-- without regard to the present retention; NULL means any time. The present retention is not enough: an
-- earlier, shorter one may have dropped more, which remember_dropped has recorded, and so may a person by
-- hand. So this looks for buckets of the aggregate where its source has no chunk. A gap with two of them
-- holds a whole bucket, whose rows are surely gone. A single bucket before the oldest chunk may also have
-- begun before the first row came: it stays within reach as far as the policy reaches by now.
CREATE OR REPLACE FUNCTION pg_temp.reach(
    aggregate regclass, OUT lost timestamptz, OUT since timestamptz, OUT bucket name, OUT kind regtype
) LANGUAGE plpgsql SET timezone = 'UTC' AS $reach$
DECLARE
    found record;
    gap record;
    lowest text;
    highest text;
    perhaps_lost timestamptz := '-infinity';
BEGIN
    SELECT
        upper.materialization_hypertable_schema AS schema,
        upper.materialization_hypertable_name AS name,
        upper.hypertable_schema AS source_schema,
        upper.hypertable_name AS source,
        job.job_id IS NOT NULL AS is_refreshed,
        (job.config ->> 'start_offset')::interval AS start_offset,
        (job.config ->> 'refreshable_since')::timestamptz AS remembered,
        now() - (retention.config ->> 'drop_after')::interval AS kept_since,
        dimension.column_name,
        dimension.column_type
    INTO found
    FROM <sources>
    LEFT JOIN timescaledb_information.jobs AS job
        ON job.hypertable_schema = upper.view_schema AND job.hypertable_name = upper.view_name
        AND job.config ? 'mat_hypertable_id'
    WHERE format('%I.%I', upper.view_schema, upper.view_name)::regclass = aggregate;
    bucket := found.column_name;
    kind := found.column_type;
    lost := coalesce(found.remembered, '-infinity');
    FOR gap IN
        WITH chunks AS (
            SELECT range_start, range_end FROM timescaledb_information.chunks
            WHERE hypertable_schema = found.source_schema AND hypertable_name = found.source
            UNION ALL SELECT 'infinity', 'infinity'
        )
        SELECT * FROM (
            SELECT
                coalesce(max(range_end) OVER earlier, '-infinity') AS since, range_start AS until
            FROM chunks
            WINDOW earlier AS (
                ORDER BY range_start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        ) AS gaps WHERE gaps.since < until ORDER BY until
    LOOP
        EXECUTE format(
            'SELECT min(%1$I)::text, max(%1$I)::text FROM %2$I.%3$I '
            'WHERE %1$I >= $1::%4$s AND %1$I < $2::%4$s', bucket, found.schema, found.name, kind
        ) INTO lowest, highest USING gap.since, gap.until;
        IF lowest <> highest THEN
            -- Where all is gone, so is the last bucket: a refresh from its second day or its second
            -- moment on takes whole buckets, and so begins with the next.
            lost := greatest(lost, CASE
                WHEN gap.until < 'infinity' THEN gap.until
                WHEN kind = 'date'::regtype THEN highest::timestamptz + interval '1 day'
                ELSE highest::timestamptz + interval '1 second'
            END);
        ELSIF lowest IS NOT NULL AND gap.since = '-infinity' THEN
            perhaps_lost := gap.until;
        END IF;
    END LOOP;
    IF found.is_refreshed THEN
        perhaps_lost := least(perhaps_lost, coalesce(now() - found.start_offset, '-infinity'));
        lost := greatest(lost, perhaps_lost);
    END IF;
    lost := nullif(least(lost, now()), '-infinity');
    since := greatest(lost, found.kept_since);
END $reach$
