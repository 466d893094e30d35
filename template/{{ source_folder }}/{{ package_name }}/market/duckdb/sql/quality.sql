-- A scan for doubtful bars: prices out of order, moves of more than $move, and gaps of more than
-- $gap days.
WITH neighbours AS (
    SELECT
        *,
        lag(day) OVER each_symbol AS day_before,
        lag(close) OVER each_symbol AS close_before
    FROM daily_bars
    WINDOW each_symbol AS (PARTITION BY symbol ORDER BY day)
)

SELECT
    symbol,
    day,
    CASE
        WHEN low > least(open, close) OR high < greatest(open, close) THEN 'prices out of order'
        WHEN day - day_before > CAST($gap AS BIGINT) THEN 'days missing before'
        ELSE 'moved far'
    END AS fault
FROM neighbours
WHERE
    low > least(open, close)
    OR high < greatest(open, close)
    OR day - day_before > CAST($gap AS BIGINT)
    OR abs(close / close_before - 1) > CAST($move AS DOUBLE)
ORDER BY symbol, day
