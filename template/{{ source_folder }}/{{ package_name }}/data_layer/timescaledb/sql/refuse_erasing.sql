-- Refuse the policy that was just set if it erases history: an aggregate loses its buckets of a time of
-- which its source has dropped data, if it is refreshed from there. Months differ in length, so the
-- start_offset and the retention are compared in every month of four years.
DO $guard$
DECLARE
    unsafe record;
BEGIN
    SELECT
        upper.view_name AS aggregate,
        coalesce(refresh.config ->> 'start_offset' || ' before now', 'the beginning') AS reach,
        source.name AS source,
        retention.config ->> 'drop_after' AS kept
    INTO unsafe
    FROM <sources>
    JOIN timescaledb_information.jobs AS refresh
        ON refresh.hypertable_schema = upper.view_schema
        AND refresh.hypertable_name = upper.view_name
        AND refresh.config ? 'mat_hypertable_id'
    WHERE
        <relation>::regclass IN (
            to_regclass(format('%I.%I', upper.view_schema, upper.view_name)),
            to_regclass(format('%I.%I', source.schema, source.name))
        )
        AND retention.job_id IS NOT NULL
        AND (
            refresh.config ->> 'start_offset' IS NULL
            OR EXISTS (
                SELECT FROM generate_series(
                    timestamp '2001-01-01', timestamp '2004-12-01', interval '1 month'
                ) AS at
                WHERE at - (refresh.config ->> 'start_offset')::interval
                    <= at - (retention.config ->> 'drop_after')::interval
            )
        );
    IF FOUND THEN
        RAISE EXCEPTION
            'The aggregate % would be refreshed from %, but % drops what is older than %: the refresh '
            'would erase the history of %. Let its start_offset be shorter than that retention.',
            unsafe.aggregate, unsafe.reach, unsafe.source, unsafe.kept, unsafe.aggregate;
    END IF;
END $guard$
