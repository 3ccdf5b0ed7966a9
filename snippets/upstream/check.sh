#!/bin/sh
# Check the settings, what production requires of them, and the server.
set -eu
cd "$(dirname "$0")"
export DJANGO_SETTINGS_MODULE=settings.checked
python3 manage.py check
python3 manage.py check --deploy
python3 manage.py check --database default
