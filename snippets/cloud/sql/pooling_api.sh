#!/bin/sh
# Turn on Managed Connection Pooling through the Cloud SQL Admin API.
set -eu
project=${1:?name a project}
instance=${2:?name an instance}
token=$(gcloud auth print-access-token)

# The token comes through a pipe: everybody can read a command line.
printf 'Authorization: Bearer %s\n' "$token" |
  curl --fail-with-body --request PATCH --header @- \
    --header "Content-Type: application/json" \
    --data @pooling.json \
    "https://sqladmin.googleapis.com/v1/projects/$project/instances/$instance"
