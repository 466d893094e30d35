-- The last day of every instrument. The lateral join reads one entry of the primary key for each;
-- DISTINCT ON would read every bar there is.
SELECT
    instrument.symbol,
    instrument.name,
    bar.day,
    bar.close,
    bar.volume
FROM instruments AS instrument
CROSS JOIN LATERAL (
    SELECT
        latest.day,
        latest.close,
        latest.volume
    FROM daily_bars AS latest
    WHERE latest.instrument_id = instrument.id
    ORDER BY latest.day DESC
    LIMIT 1
) AS bar
ORDER BY instrument.symbol
