-- Refresh an aggregate from where its source still has all data: from further back, a refresh would
-- erase the buckets whose rows the retention may have dropped.
DO $refresh$
DECLARE
    reach record;
BEGIN
    SELECT * INTO reach FROM pg_temp.reach(<relation>);
    IF reach.kind = 'date'::regtype THEN
        CALL refresh_continuous_aggregate(<relation>, reach.since::date, NULL<force>);
    ELSE
        CALL refresh_continuous_aggregate(<relation>, reach.since, NULL<force>);
    END IF;
END $refresh$
