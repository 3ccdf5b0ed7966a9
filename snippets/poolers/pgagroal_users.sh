#!/bin/sh
# Create the encrypted file with the password that pgagroal logs in with. Run it
# as the user that runs pgagroal, in pgagroal's folder.
set -eu
: "${UPSTREAM_PASSWORD:?is the application role\'s password}"
umask 077
# The key to that file: ~/.pgagroal/master.key
PGAGROAL_PASSWORD=$(head -c 24 /dev/urandom | base64) pgagroal-admin master-key
PGAGROAL_PASSWORD=$UPSTREAM_PASSWORD \
    pgagroal-admin -f pgagroal_users.conf -U upstream user add
