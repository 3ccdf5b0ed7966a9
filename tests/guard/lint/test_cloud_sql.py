"""Mistakes in the files for Cloud SQL's pooler, each of which is refused at its line. Guides are full of them."""

import pytest

from proven import ROOT
from tests.lint import cloud_sql

FOLDER = "snippets/cloud/sql"
FILES = {
    f"{FOLDER}/{name}": (ROOT / FOLDER / name).read_text(encoding="utf-8")
    for name in ("pooling.json", "pooling.sh", "pooling_api.sh", "pooling.tf")
}
# What is widely told to turn Cloud SQL's pooling on.
TOLD = """\
gcloud sql instances patch upstream-prod \\
  --database-flags=max_connections=100

# Cloud SQL automatically manages connection pooling
# for Cloud Run services via the Cloud SQL Proxy
"""


def problems(name: str, old: str, new: str) -> list[str]:
    """Return what is wrong with the files when one of them says something else."""
    path = f"{FOLDER}/{name}"
    assert old in FILES[path], old
    return [str(problem) for problem in cloud_sql.problems(FILES | {path: FILES[path].replace(old, new, 1)})]


def test_the_files_as_they_are_have_nothing_wrong() -> None:
    """So every other test here fails for the mistake that it makes."""
    assert cloud_sql.problems(FILES) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (
            "pooling.json",
            '"connectionPoolingEnabled"',
            '"enabled"',
            "4: settings.connectionPoolConfig has no field enabled",
        ),
        ("pooling.json", '"connectionPoolConfig"', '"connectionPool"', "3: settings has no field connectionPool"),
        ("pooling.json", "true", '"yes"', "4: settings.connectionPoolConfig.connectionPoolingEnabled: 'yes' is not of"),
        ("pooling.json", "true", "false", "2: this turns no pooling on: connectionPoolingEnabled"),
        ("pooling.json", '"20"', "20", "7: settings.connectionPoolConfig.flags.value: 20 is not of type 'string'"),
        (
            "pooling.json",
            '"flags"',
            '"poolerCount": 2, "flags"',
            "5: settings.connectionPoolConfig has no field poolerCount",
        ),
        (
            "pooling.sh",
            "--enable-connection-pooling",
            "--enable-pooling",
            "16: gcloud beta sql instances patch has no flag",
        ),
        (
            "pooling.sh",
            "--connection-pool-flags",
            "--pool-flags",
            "17: gcloud beta sql instances patch has no flag --pool",
        ),
        ("pooling.sh", "settings.edition", "settings.version", "10: an instance has no field settings.version"),
        (
            "pooling.sh",
            "max_pool_size=20",
            "max_pool_size=50",
            "17: flags of the pooler: {'pool_mode': 'transaction', 'max_pool_size': '50'}, and",
        ),
        ("pooling_api.sh", "PATCH", "POST", "7: the method is PATCH"),
        ("pooling_api.sh", "/v1/", "/sql/", "7: the address is https://sqladmin.googleapis.com/v1/projects/$project/"),
        (
            "pooling.tf",
            "connection_pooling_enabled",
            "enabled",
            "13: settings.connectionPoolConfig has no field enabled",
        ),
        ("pooling.tf", "connection_pool_config", "connection_pool", "12: settings has no field connectionPool"),
        (
            "pooling.tf",
            '"ENTERPRISE_PLUS"',
            '"enterprise-plus"',
            "9: settings.edition: 'enterprise-plus' is not one of",
        ),
        ("pooling.tf", '"POSTGRES_18"', '"POSTGRES18"', "5: databaseVersion: 'POSTGRES18' is not one of"),
        ("pooling.tf", "= true\n\n      flags", "=\n\n      flags", "13: not HCL: Unexpected token"),
        (
            "pooling.tf",
            '"20"',
            '"50"',
            "16: flags of the pooler: {'pool_mode': 'transaction', 'max_pool_size': '50'}, and",
        ),
    ],
)
def test_a_mistake_is_refused_at_its_line(name: str, old: str, new: str, says: str) -> None:
    """Of a field, a flag, a value, an address, and of a number that only one file has."""
    found = problems(name, old, new)
    assert any(f"{FOLDER}/{name}:{says}" in line for line in found), found


def test_what_is_widely_told_turns_no_pooling_on() -> None:
    """It sets max_connections, and that is all it does."""
    said = cloud_sql.script_problems("guide.sh", TOLD)
    assert [str(problem) for problem in said] == [
        "guide.sh:1: this turns no pooling on: nothing says --enable-connection-pooling"
    ]
