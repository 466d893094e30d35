-- Refresh an aggregate from where its source still has all data: what the retention may have dropped,
-- a refresh would erase here as well.
DO $refresh$
DECLARE
    since timestamptz;
    of_dates boolean;
BEGIN
    SELECT
        greatest(
            now() - (retention.config ->> 'drop_after')::interval,
            pg_temp.refreshable_since(<'name'>)
        ),
        column_type = 'date'::regtype
    INTO since, of_dates
    FROM <sources>
    JOIN timescaledb_information.dimensions AS dimension
        ON dimension.hypertable_schema = upper.materialization_hypertable_schema
        AND dimension.hypertable_name = upper.materialization_hypertable_name
    WHERE format('%I.%I', upper.view_schema, upper.view_name)::regclass = <'name'>::regclass;
    IF of_dates THEN
        CALL refresh_continuous_aggregate(<'name'>, since::date, NULL);
    ELSE
        CALL refresh_continuous_aggregate(<'name'>, since, NULL);
    END IF;
END $refresh$
