#!/bin/sh
# Have another server become the primary, on purpose, and show who is what.
#
# Run it where Patroni runs, with PATRONI=/etc/patroni/config.yml
set -eu

patronictl --config-file "$PATRONI" list
patronictl --config-file "$PATRONI" switchover --force
