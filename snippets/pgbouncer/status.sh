#!/bin/sh
# Does systemd run PgBouncer, and what did it say last?
set -eu
systemctl status --no-pager --lines=20 pgbouncer
