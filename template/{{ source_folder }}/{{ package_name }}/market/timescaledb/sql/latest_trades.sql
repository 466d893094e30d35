-- The last trade of every instrument. The lateral join stops at the newest chunk that has one.
SELECT
    instrument.symbol,
    trade.executed_at,
    trade.price,
    trade.quantity
FROM instruments AS instrument
CROSS JOIN LATERAL (
    SELECT
        latest.executed_at,
        latest.price,
        latest.quantity
    FROM trades AS latest
    WHERE latest.instrument_id = instrument.id
    ORDER BY latest.executed_at DESC, latest.sequence DESC
    LIMIT 1
) AS trade
ORDER BY instrument.symbol
