#!/bin/sh
# Run the image's own entrypoint; the server archives its WAL if BACKUP_TOOL says so.
set -eu

if [ "${BACKUP_TOOL:-none}" != pgbackrest ]; then
    exec docker-entrypoint.sh "$@"
fi
configure.sh
exec docker-entrypoint.sh "$@" \
    --archive_mode=on \
    --archive_timeout=60s \
    "--archive_command=pgbackrest archive-push %p"
