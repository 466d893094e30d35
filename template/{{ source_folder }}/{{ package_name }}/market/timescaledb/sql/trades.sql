-- A range of time: the bounds name the chunks that are read, and no others are.
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
