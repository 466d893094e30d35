#!/bin/sh
# The image's own entrypoint, with a server that archives its WAL.
set -eu

configure.sh
exec docker-entrypoint.sh "$@" \
    --archive_mode=on \
    --archive_timeout=60s \
    "--archive_command=pgbackrest archive-push %p"
