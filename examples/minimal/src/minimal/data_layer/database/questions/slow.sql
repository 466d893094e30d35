-- The statements of this database that took most of the server's time since the last reset.
SELECT
    round((100 * total_exec_time / sum(total_exec_time) OVER ())::numeric, 1) AS "% of time",
    calls,
    round(mean_exec_time::numeric, 2) AS "mean ms",
    round(max_exec_time::numeric, 1) AS "max ms",
    rows / greatest(calls, 1) AS "rows a call",
    regexp_replace(query, '\s+', ' ', 'g') AS statement
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY total_exec_time DESC
LIMIT :number
