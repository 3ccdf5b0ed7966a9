"""Mistakes in the files for Cloud SQL's pooler, each of which is refused at its line. Guides are full of them."""

from tests.lint import cloud_sql

# What is widely told to turn Cloud SQL's pooling on.
TOLD = """\
gcloud sql instances patch upstream-prod \\
  --database-flags=max_connections=100

# Cloud SQL automatically manages connection pooling
# for Cloud Run services via the Cloud SQL Proxy
"""


def test_what_is_widely_told_turns_no_pooling_on() -> None:
    """It sets max_connections, and that is all it does."""
    said = cloud_sql.script_problems("guide.sh", TOLD)
    assert [str(problem) for problem in said] == [
        "guide.sh:1: this turns no pooling on: nothing says --enable-connection-pooling"
    ]
