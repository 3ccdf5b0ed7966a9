#!/bin/sh
# Put a new password, from standard input, into the file that libpq reads.
# Whoever gets the token runs it: a cron job, a sidecar, Vault's agent.
set -eu

# A file that others may read is ignored. A colon would end the password.
umask 077
sed 's/[\\:]/\\&/g; s/^/*:*:*:*:/' > "$DATABASE_PASSFILE.new"
mv "$DATABASE_PASSFILE.new" "$DATABASE_PASSFILE"
