-- The cast with two colons is no parameter.
SELECT number, number::text AS word, number * 1.5 AS price
FROM generate_series(1, :last) AS number
WHERE CAST(:words AS text[]) IS NULL OR number::text = ANY(:words)
ORDER BY number
