-- One close for every bucket. A bucket without trades gets the last close before it; before the
-- first trade of the window, that is the last close from before the window.
SELECT
    filled.bucket,
    filled.close,
    coalesce(filled.candles, 0) > 0 AS traded
FROM (
    SELECT
        time_bucket_gapfill(
            CAST(:every AS interval), candle.bucket, 'UTC',
            CAST(:since AS timestamptz), CAST(:until AS timestamptz)
        ) AS bucket,
        locf(
            last(candle.close, candle.bucket),
            (
                SELECT earlier.close
                FROM candles_hourly AS earlier
                INNER JOIN instruments AS instrument ON earlier.instrument_id = instrument.id
                WHERE instrument.symbol = :symbol AND earlier.bucket < :since
                ORDER BY earlier.bucket DESC
                LIMIT 1
            )
        ) AS close,
        count(*) AS candles
    FROM candles_hourly AS candle
    INNER JOIN instruments AS instrument ON candle.instrument_id = instrument.id
    WHERE
        instrument.symbol = :symbol
        AND candle.bucket >= :since
        AND candle.bucket < :until
    GROUP BY 1
) AS filled
ORDER BY filled.bucket
