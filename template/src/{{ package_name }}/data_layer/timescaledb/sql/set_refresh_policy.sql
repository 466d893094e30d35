-- Let an aggregate be refreshed from `start_offset` on. Where its source has lost rows of that time,
-- the window stays as it is, or begins after them.
DO $policy$
DECLARE
    wanted interval := <start>;
    since timestamptz := pg_temp.refreshable_since(<'name'>);
    age interval := now() - since;
    had interval;
BEGIN
    IF now() - wanted < since OR wanted IS NULL AND since IS NOT NULL THEN
        SELECT (config ->> 'start_offset')::interval INTO had FROM timescaledb_information.jobs
        WHERE config ? 'mat_hypertable_id'
            AND format('%I.%I', hypertable_schema, hypertable_name)::regclass = <'name'>::regclass;
        wanted := least(
            had, date_trunc(CASE WHEN age < interval '1 day' THEN 'second' ELSE 'day' END, age)
        );
    END IF;
    PERFORM remove_continuous_aggregate_policy(<'name'>, if_exists => true);
    PERFORM add_continuous_aggregate_policy(
        <'name'>, start_offset => wanted, end_offset => <end>, schedule_interval => <every>
    );
END $policy$
