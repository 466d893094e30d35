-- Refuse to drop an aggregate if it would lack some of its present buckets after it is created again.
DO $loss$
DECLARE
    reach record;
    oldest timestamptz;
BEGIN
    SELECT * INTO reach FROM pg_temp.reach(<relation>);
    EXECUTE format('SELECT min(%I) FROM %s', reach.bucket, <relation>::regclass) INTO oldest;
    IF oldest < reach.since THEN
        RAISE EXCEPTION
            'The aggregate % has buckets from % on, but its source has its rows only since %: to build '
            'it anew would lose what is older. Declare the new SELECT under another name; or take '
            'rebuilt=True out of the migration, to lose it.', <relation>::regclass, oldest, reach.since;
    END IF;
END $loss$
