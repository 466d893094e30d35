-- A rollup: trades of one instrument as candles of any width, such as '1 day' or '1 month', in UTC.
SELECT
    time_bucket(CAST($every AS INTERVAL), executed_at) AS bucket,
    arg_min(price, (executed_at, sequence)) AS open,
    max(price) AS high,
    min(price) AS low,
    arg_max(price, (executed_at, sequence)) AS close,
    CAST(sum(quantity) AS BIGINT) AS volume,
    count(*) AS trades
FROM trades
WHERE
    instrument_id = CAST($instrument_id AS BIGINT)
    AND executed_at >= CAST($since AS TIMESTAMPTZ)
    AND executed_at < CAST($until AS TIMESTAMPTZ)
GROUP BY bucket
ORDER BY bucket
