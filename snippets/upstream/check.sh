#!/bin/sh
# What the settings say, what production lacks, and what the server says.
set -eu
cd "$(dirname "$0")"
export DJANGO_SETTINGS_MODULE=settings.checked
python3 manage.py check
python3 manage.py check --deploy
python3 manage.py check --database default
