#!/bin/sh
# Is PgBouncer running, and what did it log last?
set -eu
systemctl status --no-pager --lines=20 pgbouncer
