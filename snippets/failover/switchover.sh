#!/bin/sh
# Show which server is the primary, and switch over to another one.
#
# Run it where Patroni runs, with PATRONI=/etc/patroni/config.yml
set -eu

patronictl --config-file "$PATRONI" list
patronictl --config-file "$PATRONI" switchover --force
