#!/bin/sh
# Switch over while PgBouncer's clients wait instead of failing.
#
# Run it where PgBouncer and patronictl are. It needs
#   PATRONI   Patroni's settings: /etc/patroni/config.yml
#   CONSOLE   PgBouncer's console: "host=… port=6432 dbname=pgbouncer"
#   PROXY     the database through HAProxy: "host=127.0.0.1 port=5000 …"
set -eu
: "${PATRONI:?}" "${CONSOLE:?}" "${PROXY:?}"

ask() {
    psql "$1" --no-psqlrc --quiet --tuples-only --no-align --command "$2"
}
patroni() {
    patronictl --config-file "$PATRONI" "$@"
}

# Without a standby that streams, clients would wait in vain.
standby=$(patroni list --format tsv |
    awk -F '\t' '$5 == "streaming" { print $2; exit }')
if [ -z "$standby" ]; then
    echo "switchover: no standby is streaming. Nothing was changed." >&2
    exit 1
fi

# A wrong PROXY would only show after the switchover, while clients wait.
ask "$PROXY" select >/dev/null

# patronictl takes a while to start, and asks before it acts. Until then,
# clients need not wait.
folder=$(mktemp -d)
mkfifo "$folder/answers"
patroni switchover --candidate "$standby" --scheduled now \
    <"$folder/answers" >"$folder/says" &
switching=$!
exec 3>"$folder/answers"
echo >&3 # the primary that it proposes
until grep -q "Are you sure" "$folder/says"; do
    kill -0 "$switching" # it has not given up
    sleep 0.1
done

# However this ends, nobody is left waiting.
pausing=
trap 'exit 1' HUP INT TERM
trap 'trap "" HUP INT TERM
    kill "$pausing" 2>&- || true
    ask "$CONSOLE" resume
    rm -r "$folder"' EXIT
# PAUSE waits until open transactions have ended. In the foreground, psql would
# do so despite Ctrl-C, and this script with it.
psql "$CONSOLE" --no-psqlrc --quiet --command pause &
pausing=$!
wait "$pausing"
pausing=
echo y >&3
wait "$switching"
cat "$folder/says"
# HAProxy notices a moment later.
for _ in $(seq 60); do
    reads=$(ask "$PROXY" "select pg_is_in_recovery()" || true)
    [ "$reads" = f ] && exit
    sleep 0.5
done
echo "switchover: after 30 seconds, HAProxy still reaches no primary" >&2
exit 1
