-- Daily bars rolled up to weeks that begin on Monday, the newest first.
SELECT
    date_trunc('week', bar.day::timestamp)::date AS week,
    count(*) AS days,
    (array_agg(bar.open ORDER BY bar.day))[1] AS open,
    max(bar.high) AS high,
    min(bar.low) AS low,
    (array_agg(bar.close ORDER BY bar.day DESC))[1] AS close,
    sum(bar.volume)::bigint AS volume
FROM daily_bars AS bar
INNER JOIN instruments AS instrument ON bar.instrument_id = instrument.id
WHERE
    instrument.symbol = :symbol
    AND bar.day < :before
GROUP BY week
ORDER BY week DESC
LIMIT :limit
