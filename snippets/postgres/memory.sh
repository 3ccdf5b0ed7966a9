#!/bin/sh
# How much memory processes use, in kB. As root, on the host they run on:
# sh memory.sh $(pgrep --full 'postgres: .* idle$')
# RSS is what ps shows: it counts shared memory in full for each process.
# PSS divides it among the processes. "own" is the part of PSS that is neither
# mapped from files nor shared memory.
set -eu
printf '%-8s %8s %8s %8s\n' pid RSS PSS own
for pid in "$@"; do
    awk -v pid="$pid" '
        /^Rss:/ { rss = $2 }
        /^Pss:/ { pss = $2 }
        /^Pss_Anon:/ { own = $2 }
        END { printf "%-8d %8d %8d %8d\n", pid, rss, pss, own }
    ' "/proc/$pid/smaps_rollup"
done
