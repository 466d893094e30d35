-- An as-of join: each trade beside the last close that was known before its day.
SELECT
    trade.executed_at,
    trade.sequence,
    trade.price,
    bar.day AS known_day,
    bar.close AS known_close,
    trade.price / bar.close - 1 AS change
FROM trades AS trade
ASOF LEFT JOIN daily_bars AS bar
    ON trade.instrument_id = bar.instrument_id AND CAST(trade.executed_at AS DATE) > bar.day
WHERE
    trade.instrument_id = CAST($instrument_id AS BIGINT)
    AND trade.executed_at >= CAST($since AS TIMESTAMPTZ)
    AND trade.executed_at < CAST($until AS TIMESTAMPTZ)
ORDER BY trade.executed_at, trade.sequence
