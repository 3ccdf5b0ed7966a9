#!/bin/sh
# Switch over to a standby behind PgBouncer: clients wait instead of failing.
#
# Run it where PgBouncer runs, as a user that may write its ini. It needs
#   CONSOLE           PgBouncer's console: "host=… port=6432 dbname=pgbouncer"
#   STANDBY           the standby itself, past PgBouncer, as a superuser: the
#                     server that NEW names, which nothing here compares
#   STOP              stops the primary: "ssh db1 systemctl stop postgresql"
#   DATABASE          the entry of [databases] that moves
#   INI, OLD, NEW     the file it is in, and its host before and after
set -eu

ask() {
    psql "$1" --no-psqlrc --quiet --tuples-only --no-align --command "$2" \
        ${3:+--command "$3"}
}

# region: before
: "${CONSOLE:?}" "${STANDBY:?}" "${STOP:?}" "${DATABASE:?}"
: "${INI:?}" "${OLD:?}" "${NEW:?}" # one that is missing ends it here
# WAL that the standby has not received would be lost.
receives="select status from pg_stat_wal_receiver"
if [ "$(ask "$STANDBY" "$receives")" != streaming ]; then
    echo "switchover: $NEW does not stream from $OLD. Nothing was changed." >&2
    exit 1
fi
# Otherwise sed changes nothing, and clients go to a server that is gone.
if ! grep -q "^[\" ]*${DATABASE}[\" ]*=.*host=$OLD " "$INI"; then
    echo "switchover: $INI has no '$DATABASE = … host=$OLD '." \
        "Nothing was changed." >&2
    exit 1
fi
# endregion: before

# region: switch
# However this ends, no client is left waiting: not even after Ctrl-C or when
# the terminal is closed, which can send several signals.
pausing=
trap 'exit 1' HUP INT TERM
# Both in one session: a client that logs in between reload and resume would
# cause a failed login.
trap 'trap "" HUP INT TERM
    kill "$pausing" 2>&- || true
    ask "$CONSOLE" reload "resume \"$DATABASE\""' EXIT
# PAUSE waits until open transactions have ended. In the foreground, psql would
# do so despite Ctrl-C, and this script with it.
psql "$CONSOLE" --no-psqlrc --quiet --command "pause \"$DATABASE\"" &
pausing=$!
wait "$pausing"
pausing=

# A primary that is shut down, not killed, first sends all its WAL. Clients
# that bypass PgBouncer can no longer write to it either.
sh -c "$STOP"
# A service manager may say so too early: wait until the standby says that no
# more WAL can come. A query that fails says nothing.
over="select 'streaming' not in ($receives)"
until [ "$(ask "$STANDBY" "$over")" = t ]; do sleep 0.1; done

# Returns t once the standby accepts writes, and f if it does not.
[ "$(ask "$STANDBY" "select pg_promote()")" = t ]

sed -i "s/host=$OLD /host=$NEW /" "$INI"
# endregion: switch
