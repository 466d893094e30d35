-- What was traded on each day; a day is a day of UTC, whatever the time zone of the session.
SELECT
    (trade.executed_at AT TIME ZONE 'UTC')::date AS day,
    instrument.symbol,
    count(*) AS trades,
    sum(trade.quantity)::bigint AS quantity,
    sum(trade.quantity * trade.price) AS amount,
    sum(trade.quantity * trade.price) / sum(trade.quantity) AS average_price
FROM trades AS trade
INNER JOIN instruments AS instrument ON trade.instrument_id = instrument.id
WHERE
    trade.executed_at >= :since
    AND trade.executed_at < :until
GROUP BY day, instrument.symbol
ORDER BY day, instrument.symbol
