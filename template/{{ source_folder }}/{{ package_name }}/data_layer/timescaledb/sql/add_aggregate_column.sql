-- Add a column to an aggregate. The buckets have NULL in it until they are refreshed with `force`.
DO $add$
BEGIN
    -- IF NOT EXISTS is not honoured here.
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = <relation>::regclass AND attname = <column>
    ) THEN
        ALTER MATERIALIZED VIEW <view> ADD COLUMN <definition>;
    END IF;
END $add$
