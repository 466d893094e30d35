-- Trades in a range of time: because of the bounds, only the chunks between them are read.
SELECT
    instrument.symbol,
    trade.executed_at,
    trade.sequence,
    trade.price,
    trade.quantity
FROM trades AS trade
INNER JOIN instruments AS instrument ON trade.instrument_id = instrument.id
WHERE
    instrument.symbol = :symbol
    AND trade.executed_at >= :since
    AND trade.executed_at < :until
ORDER BY trade.executed_at, trade.sequence
