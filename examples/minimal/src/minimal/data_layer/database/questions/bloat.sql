-- The tables with most dead rows, and how far autovacuum is behind.
SELECT
    relid::regclass::text AS "table",
    pg_size_pretty(pg_total_relation_size(relid)) AS size,
    n_live_tup AS rows,
    n_dead_tup AS dead,
    round(100.0 * n_dead_tup / nullif(n_live_tup + n_dead_tup, 0), 1) AS "% dead",
    coalesce(date_trunc('second', greatest(last_autovacuum, last_vacuum))::text, 'never') AS vacuumed,
    round(100.0 * age(relfrozenxid) / current_setting('autovacuum_freeze_max_age')::int)
        AS "% to freezing"
FROM pg_stat_user_tables
JOIN pg_class ON pg_class.oid = relid
ORDER BY n_dead_tup DESC, pg_total_relation_size(relid) DESC
LIMIT :number
