-- History over years: one candle for each instrument and year since $since.
SELECT
    symbol,
    year(day) AS year,
    count(*) AS days,
    arg_min(open, day) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, day) AS close,
    sum(volume) AS volume
FROM daily_bars
WHERE day >= CAST($since AS DATE)
GROUP BY ALL
ORDER BY symbol, year
