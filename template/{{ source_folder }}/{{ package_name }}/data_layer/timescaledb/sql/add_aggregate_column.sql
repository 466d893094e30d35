-- Add a column to an aggregate, whose buckets have NULL in it until they are refreshed by force.
DO $add$
BEGIN
    -- IF NOT EXISTS is not honoured here.
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = <relation>::regclass AND attname = <column>
    ) THEN
        ALTER MATERIALIZED VIEW <view> ADD COLUMN <definition>;
    END IF;
END $add$
