#!/bin/sh
# Turn on Managed Connection Pooling for an instance of Cloud SQL.
set -eu
instance=${1:?name an instance}

# region: look
# Wanted: ENTERPRISE_PLUS, NEW_NETWORK_ARCHITECTURE, and maintenance of
# R20250727.00_14 or later.
gcloud sql instances describe "$instance" \
  --format='value(settings.edition, sqlNetworkArchitecture, maintenanceVersion)'
# endregion: look

# region: enable
# The size counts for each user in each database, and again in each pooler.
gcloud sql instances patch "$instance" \
  --enable-connection-pooling \
  --connection-pool-flags=pool_mode=transaction,max_pool_size=20
# endregion: enable
