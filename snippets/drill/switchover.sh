#!/bin/sh
# Switch over to a standby behind PgBouncer: clients wait instead of failing.
#
# Run it where PgBouncer runs, as somebody who may write its ini. It wants
#   CONSOLE           PgBouncer's console: "host=… port=6432 dbname=pgbouncer"
#   STANDBY           the standby itself, past PgBouncer, as a superuser
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
# What the standby does not get, nobody will have afterwards.
state=$(ask "$STANDBY" "select status from pg_stat_wal_receiver")
if [ "$state" != streaming ]; then
    echo "switchover: $NEW does not stream from $OLD. Nothing was done." >&2
    exit 1
fi
# Else sed would change nothing, and clients would go to a server that is gone.
if ! grep -q "host=$OLD " "$INI"; then
    echo "switchover: no 'host=$OLD ' in $INI. Nothing was done." >&2
    exit 1
fi
# endregion: before

# region: switch
# However this ends, nobody is left waiting: also where somebody breaks it off,
# or a terminal goes away, which several may tell it.
pausing=
trap 'exit 1' HUP INT TERM
# PgBouncer reads the file and resumes at once: a login in between would count
# as one that failed.
trap 'trap "" HUP INT TERM
    kill "$pausing" 2>&- || true
    ask "$CONSOLE" reload "resume \"$DATABASE\""' EXIT
# It waits until open transactions have ended. In front psql would do so in
# spite of Ctrl-C, and this script with it.
psql "$CONSOLE" --no-psqlrc --quiet --command "pause \"$DATABASE\"" &
pausing=$!
wait "$pausing"
pausing=

# A primary that is stopped, and not killed, first sends all it has. Whoever
# comes past PgBouncer cannot write to it any more either.
sh -c "$STOP"

# It returns when the standby takes writes, or f when it does not.
[ "$(ask "$STANDBY" "select pg_promote()")" = t ]

sed -i "s/host=$OLD /host=$NEW /" "$INI"
# endregion: switch
