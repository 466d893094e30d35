-- What an account holds: bought less sold, what open sales leave free, and its worth at the
-- latest close.
SELECT
    instrument.symbol,
    held.quantity,
    held.free,
    bar.close,
    held.quantity * bar.close AS worth
FROM (
    SELECT
        placed.instrument_id,
        sum(CASE placed.side WHEN 'buy' THEN placed.filled ELSE -placed.filled END)::bigint
            AS quantity,
        sum(
            CASE
                WHEN placed.side = 'buy' THEN placed.filled
                WHEN placed.status = 'open' THEN -placed.quantity
                ELSE -placed.filled
            END
        )::bigint AS free
    FROM orders AS placed
    WHERE placed.account_id = :account_id
    GROUP BY placed.instrument_id
) AS held
INNER JOIN instruments AS instrument ON held.instrument_id = instrument.id
LEFT JOIN LATERAL (
    SELECT latest.close
    FROM daily_bars AS latest
    WHERE latest.instrument_id = held.instrument_id
    ORDER BY latest.day DESC
    LIMIT 1
) AS bar ON TRUE
WHERE held.quantity <> 0
ORDER BY instrument.symbol
