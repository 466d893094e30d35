-- Refuse what the relation has just been told when that erases history: an aggregate that is
-- refreshed from where its source has dropped data loses what it had there. Months have many lengths,
-- so the two are compared at every time of four years.
DO $guard$
DECLARE
    unsafe record;
BEGIN
    FOR unsafe IN
        SELECT
            refresh.hypertable_name AS aggregate,
            coalesce(refresh.config ->> 'start_offset', 'the beginning') AS reach,
            retention.hypertable_name AS source,
            retention.config ->> 'drop_after' AS kept
        FROM <sources>
        JOIN timescaledb_information.jobs AS refresh
            ON refresh.hypertable_schema = upper.view_schema
            AND refresh.hypertable_name = upper.view_name
            AND refresh.config ? 'mat_hypertable_id'
        WHERE
            retention.job_id IS NOT NULL
            AND <'relation'>::regclass IN (
                to_regclass(format('%I.%I', refresh.hypertable_schema, refresh.hypertable_name)),
                to_regclass(format('%I.%I', retention.hypertable_schema, retention.hypertable_name))
            )
            AND (
                refresh.config ->> 'start_offset' IS NULL
                OR EXISTS (
                    SELECT FROM generate_series(
                        timestamp '2001-01-01', timestamp '2004-12-01', interval '1 month'
                    ) AS at
                    WHERE at - (refresh.config ->> 'start_offset')::interval
                        <= at - (retention.config ->> 'drop_after')::interval
                )
            )
    LOOP
        RAISE EXCEPTION
            'The aggregate % would be refreshed from %, but % drops what is older than %: the '
            'refresh would erase its history.',
            unsafe.aggregate, unsafe.reach, unsafe.source, unsafe.kept;
    END LOOP;
END $guard$
