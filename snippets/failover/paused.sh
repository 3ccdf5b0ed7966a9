#!/bin/sh
# Switch over while PgBouncer's clients wait: none gets an error.
#
# Run it where PgBouncer and patronictl are. It wants
#   PATRONI   Patroni's settings: /etc/patroni/config.yml
#   CONSOLE   PgBouncer's console: "host=… port=6432 dbname=pgbouncer"
#   PROXY     the database through HAProxy: "host=127.0.0.1 port=5000 …"
set -eu

ask() {
    psql "$1" --no-psqlrc --quiet --tuples-only --no-align --command "$2"
}

# However this ends, nobody is left waiting.
trap 'exit 1' HUP INT TERM
trap 'trap "" HUP INT TERM; ask "$CONSOLE" resume' EXIT
ask "$CONSOLE" pause
patronictl --config-file "$PATRONI" switchover --force
# HAProxy learns of it a moment later.
for _ in $(seq 60); do
    standby=$(ask "$PROXY" "select pg_is_in_recovery()" || true)
    [ "$standby" = f ] && exit
    sleep 0.5
done
echo "switchover: HAProxy leads to no primary after half a minute" >&2
exit 1
