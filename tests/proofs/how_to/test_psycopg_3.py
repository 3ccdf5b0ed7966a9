"""Proves docs/how-to/psycopg-3.md: the example project with psycopg2, and with psycopg 3 beside it."""

import json

from proven import evidence
from proven.sources.controls import control, edit, here, replace
from tests.stack.upstream import needs_psycopg_3

NUMBER = "3"
# Reports what one driver does; {named} is the reader's snippet.
ASKED = """
import json, os, warnings
import django; django.setup()
warnings.simplefilter("error")
from django.db import Error, connection, connections

{named}

def level(options):
    other = connections.create_connection("default")
    other.settings_dict["OPTIONS"] = {{**other.settings_dict["OPTIONS"], **options}}
    found = []
    for autocommit in (True, False):
        other.set_autocommit(autocommit)
        with other.cursor() as cursor:
            cursor.execute("show transaction_isolation")
            found += cursor.fetchone()
    other.close()
    return found

found = {{"driver": connection.Database.__name__}}
found |= {{"named": level(OPTIONS), "number": level({{"isolation_level": {number}}})}}
try:
    connection.cursor().execute("select 1 / 0")
except Error as error:
    import psycopg2
    found["django"] = type(error).__name__
    found["codes"] = [name for name in ("pgcode", "sqlstate") if getattr(error.__cause__, name, "") == "22012"]
    found["caught"] = [isinstance(each, psycopg2.Error) for each in (error, error.__cause__)]
connection.connection.close()
try:
    connection.cursor()
except Error as error:
    found["closed"] = type(error).__name__
print(json.dumps(found))
"""


@control(here('["psycopg2", ""]', '["psycopg2", "psycopg2"]'))
@control(replace("tests.proofs.how_to.test_psycopg_3:NUMBER", "2"))
@control(replace("tests.proofs.how_to.test_psycopg_3:NUMBER", "warnings.warn('a number') or 3"))
@control(edit("psycopg/isolation.py", "IsolationLevel.SERIALIZABLE", "3"))
def test_what_psycopg_3_does_otherwise(project, database, load) -> None:
    """Django prefers it even if psycopg2 is installed; isolation level 3 has another meaning, and errors differ.

    3 means serializable in psycopg2 and repeatable read in psycopg 3, without a warning; the named level is
    serializable in both. In autocommit neither applies. Django raises the same error; its cause is psycopg2's with a
    pgcode, or psycopg 3's with a sqlstate. On a closed connection it raises InterfaceError with psycopg2,
    OperationalError with psycopg 3.
    """
    needs_psycopg_3()
    named = load("psycopg/isolation.py")
    evidence.ran(named)
    said = []
    for driver in ["psycopg2", ""]:  # psycopg 3 is hidden at first
        status, output = project.run(
            "-c",
            ASKED.format(named=named.text, number=NUMBER),
            database_url=database.url,
            fresh=bool(driver),  # or it is imported before it can be hidden
            PROVEN_DRIVER=driver,
            DJANGO_SETTINGS_MODULE="settings.prod",
        )
        assert status == 0, output
        said.append(json.loads(output))
    old, new = said
    assert (old["driver"], new["driver"]) == ("psycopg2", "psycopg")
    assert (old["number"], new["number"]) == (["read committed", "serializable"], ["read committed", "repeatable read"])
    assert old["named"] == new["named"] == ["read committed", "serializable"]
    assert old["django"] == new["django"] == "DataError"
    assert (old["closed"], new["closed"]) == ("InterfaceError", "OperationalError")
    assert (old["codes"], new["codes"]) == (["pgcode"], ["sqlstate"])
    assert (old["caught"], new["caught"]) == ([False, True], [False, False])
