-- Who waits for a lock, and which transaction is in the way.
SELECT
    waiting.pid AS waits,
    date_trunc('second', now() - waiting.query_start)::text AS "for",
    lock.mode || coalesce(' on ' || lock.relation::regclass::text, ' on ' || lock.locktype) AS lock,
    regexp_replace(waiting.query, '\s+', ' ', 'g') AS statement,
    blocker.pid AS "held by",
    holder.usename || coalesce(', ' || nullif(holder.application_name, ''), '') AS who,
    holder.state,
    date_trunc('second', now() - holder.xact_start)::text AS "begun before"
FROM pg_stat_activity AS waiting
JOIN pg_locks AS lock ON lock.pid = waiting.pid AND NOT lock.granted
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocker (pid)
LEFT JOIN pg_stat_activity AS holder ON holder.pid = blocker.pid
WHERE waiting.datname = current_database()
ORDER BY waiting.query_start
LIMIT :number
