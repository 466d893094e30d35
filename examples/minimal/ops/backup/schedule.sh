#!/bin/sh
# A heartbeat each minute, an incremental backup each hour, a full one each day, in UTC. pgBackRest
# itself drops what the retention needs no more. `schedule.sh once` takes one turn.
set -eu

# Without a commit, an idle database can't be restored to a moment: recovery never sees that the
# moment came. And a quiet server that was restarted overlooks its archive_timeout until the first
# checkpoint.
heartbeat() {
    psql --quiet --no-psqlrc --output=/dev/null \
        --command="SELECT pg_logical_emit_message(true, 'heartbeat', now()::text)" \
        --command="SELECT pg_switch_wal() FROM pg_stat_archiver
            WHERE greatest(last_archived_time, pg_postmaster_start_time()) < now() - interval '2 min'
                AND (last_failed_time IS NULL OR last_failed_time < last_archived_time)" \
        && touch "${HEARTBEAT:-/tmp/heartbeat}"
}

# Print the kind of backup that is due, or nothing. A label begins with the moment its backup began.
due() {
    made=$(pgbackrest info)
    hour=$(date -u +%Y%m%d-%H)
    case $made in
        *"full backup: ${hour%-*}-"*) ;;
        *) echo full && return ;;
    esac
    case $made in
        *"full backup: $hour"* | *"_$hour"*) ;;
        *) echo incr ;;
    esac
}

turn() {
    kind=$(due)
    if [ -n "$kind" ]; then
        echo "$(date -u +%FT%TZ) $kind backup"
        pgbackrest --type="$kind" backup
    fi
}

if [ "${1:-}" = once ]; then
    heartbeat
    turn
    exit
fi

if [ "${BACKUP_TOOL:-none}" != pgbackrest ]; then
    echo "BACKUP_TOOL is ${BACKUP_TOOL:-not set}; set it to pgbackrest in .env, or take backup out of COMPOSE_PROFILES." >&2
    exit 1
fi
configure.sh
until pgbackrest stanza-create; do
    echo "Nothing is saved. If this is the server that took over from the one in the repository, see README.md." >&2
    sleep 5
done
while :; do
    heartbeat || echo "$(date -u +%FT%TZ) no heartbeat" >&2
    sleep 60
done &
while :; do
    turn || echo "$(date -u +%FT%TZ) the backup failed; the next try is in a minute" >&2
    sleep 60
done
