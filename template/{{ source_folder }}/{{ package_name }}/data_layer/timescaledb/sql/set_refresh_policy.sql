-- Let an aggregate be refreshed from `start_offset` on. If its source has lost rows of that time, the
-- window keeps its present begin, or begins after the lost rows.
DO $policy$
DECLARE
    wanted interval := <start>;
    lost timestamptz := (pg_temp.reach(<relation>)).lost;
    age interval := now() - lost;
    had jsonb;
    job integer;
BEGIN
    SELECT config INTO had FROM timescaledb_information.jobs
    WHERE config ? 'mat_hypertable_id'
        AND format('%I.%I', hypertable_schema, hypertable_name)::regclass = <relation>::regclass;
    IF now() - wanted < lost OR wanted IS NULL AND lost IS NOT NULL THEN
        wanted := least(
            (had ->> 'start_offset')::interval,
            date_trunc(CASE WHEN age < interval '1 day' THEN 'second' ELSE 'day' END, age)
        );
    END IF;
    PERFORM remove_continuous_aggregate_policy(<relation>, if_exists => true);
    BEGIN
        job := add_continuous_aggregate_policy(
            <relation>, start_offset => wanted, end_offset => <end>, schedule_interval => <every>
        );
    EXCEPTION WHEN invalid_parameter_value THEN
        IF lost IS NULL THEN
            RAISE;
        END IF;
        RAISE EXCEPTION
            'The source of % has lost rows up to %, which leaves no two buckets to refresh: truncate '
            'the aggregate as well if its history shall go, or migrate again later.',
            <relation>, lost;
    END;
    PERFORM alter_job(job_id, config => config || jsonb_build_object('refreshable_since', lost))
    FROM timescaledb_information.jobs WHERE job_id = job AND had ? 'refreshable_since';
END $policy$
