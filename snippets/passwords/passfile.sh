#!/bin/sh
# Put a new password, from standard input, into the file that libpq reads.
# Run by whatever gets the token: a cron job, a sidecar, Vault's agent.
set -eu

# A file that others can read is ignored. A bare colon ends the password.
umask 077
sed 's/[\\:]/\\&/g; s/^/*:*:*:*:/' > "$DATABASE_PASSFILE.new"
mv "$DATABASE_PASSFILE.new" "$DATABASE_PASSFILE"
