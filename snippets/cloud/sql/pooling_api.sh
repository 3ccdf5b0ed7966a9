#!/bin/sh
# Turn on Managed Connection Pooling through the Cloud SQL Admin API.
set -eu
project=${1:?name a project}
instance=${2:?name an instance}

curl --fail-with-body --request PATCH \
  --header "Authorization: Bearer $(gcloud auth print-access-token)" \
  --header "Content-Type: application/json" \
  --data @pooling.json \
  "https://sqladmin.googleapis.com/v1/projects/$project/instances/$instance"
