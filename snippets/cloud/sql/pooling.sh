#!/bin/sh
# Turn on Managed Connection Pooling for a Cloud SQL instance.
set -eu
instance=${1:?name an instance}

# region: look
# Required: ENTERPRISE_PLUS, NEW_NETWORK_ARCHITECTURE, and maintenance version
# R20250727.00_14 or later.
gcloud sql instances describe "$instance" \
  --format='value(settings.edition, sqlNetworkArchitecture, maintenanceVersion)'
# endregion: look

# region: enable
# The size applies to each user in each database, and again in each pooler.
gcloud sql instances patch "$instance" \
  --enable-connection-pooling \
  --connection-pool-flags=pool_mode=transaction,max_pool_size=20
# endregion: enable
