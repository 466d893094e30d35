-- The largest indexes, and how often each was used since the statistics began.
SELECT
    indexrelid::regclass::text AS "index",
    relid::regclass::text AS "table",
    pg_size_pretty(pg_relation_size(indexrelid)) AS size,
    idx_scan AS scans,
    coalesce(date_trunc('second', last_idx_scan)::text, 'never') AS "last scan",
    CASE WHEN NOT indisvalid THEN 'invalid' WHEN indisunique THEN 'unique' ELSE '' END AS kind
FROM pg_stat_user_indexes
JOIN pg_index USING (indexrelid)
ORDER BY pg_relation_size(indexrelid) DESC
LIMIT :number
