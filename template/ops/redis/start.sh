#!/bin/sh
# Make the users from the passwords of the environment, then become the server. The image calls it
# valkey-server or redis-server.
#   start.sh CONFIGURATION [--setting value …]
set -eu

: "${ACL_USER:?}" "${ACL_PASSWORD:?see .env}" "${ACL_KEYS:?}"
ACL_FILE=${ACL_FILE:-/run/redis/users.acl}
umask 077
digest=$(printf %s "$ACL_PASSWORD" | sha256sum | cut -d ' ' -f 1)
# Nobody can sign in as default, yet Redis replays its log with that user's rights. Without these
# rights it drops what scripts and transactions have written. INFO is among the dangerous commands,
# but `check` and the exporter read it.
{
    echo "user default off resetpass ~* &* +@all"
    echo "user $ACL_USER on #$digest $ACL_KEYS +@all -@dangerous -@admin +info"
} > "$ACL_FILE"
unset ACL_PASSWORD

for server in valkey-server redis-server; do
    if command -v "$server" > /dev/null; then
        exec "$server" "$@"
    fi
done
echo "The image has neither valkey-server nor redis-server." >&2
exit 1
