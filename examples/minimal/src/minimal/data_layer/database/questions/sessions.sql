-- The connections of this database, the oldest transaction first.
SELECT
    pid,
    usename || coalesce(', ' || nullif(application_name, ''), '') AS who,
    state,
    date_trunc('second', now() - xact_start)::text AS "transaction of",
    date_trunc('second', now() - state_change)::text AS "so since",
    coalesce(wait_event_type || ': ' || wait_event, '') AS "waits for",
    regexp_replace(query, '\s+', ' ', 'g') AS "last statement"
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
ORDER BY xact_start NULLS LAST, state_change
LIMIT :number
