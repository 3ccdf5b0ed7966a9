"""What PgBouncer would refuse at its start, or take for something else, is refused without it."""

import pytest

from tests.lint.test_pgbouncer import problems

# What it is: the line, and the message.
MISTAKES = {
    "a misspelt name": ("pool_mod = session", "PgBouncer has no setting called pool_mod"),
    "a misspelt word": ("pool_mode = transactional", "pool_mode is one of session, statement, transaction"),
    "trust": ("auth_type = trust", "auth_type is one of cert, hba, ldap, md5, pam, plain, scram-sha-256"),
    "a word for a number": ("default_pool_size = many", "default_pool_size is a number"),
    "a unit": ("query_wait_timeout = 5s", "query_wait_timeout is a number"),
    "half a connection": ("max_client_conn = 5.5", "max_client_conn is a whole number"),
    "a negative size": ("default_pool_size = -3", "default_pool_size is between 0 and 2147483647"),
    "a number that is too large": ("max_packet_size = 99999999999", "max_packet_size is between 0 and 2147483647"),
    "a port that is none": ("listen_port = 70000", "listen_port is between 1 and 65535"),
    "no value": ("listen_addr = ", "listen_addr has no value"),
    "no setting": ("listen_addr", "not a setting: write name = value, and comments on lines of their own"),
    "twice": ("auth_type = md5\nauth_type = md5", "auth_type has a value already, which this one would replace"),
    "an unknown section": ("[pgbouncers]", "no section is called [pgbouncers]"),
    "an entry's name": ("[databases]\na = hots=b", "nothing in [databases] is called hots"),
    "an entry's number": ("[databases]\na = host=b pool_size=x", "pool_size is a number"),
    "an entry's word": ("[users]\na = pool_mode=any", "pool_mode is one of session, statement, transaction"),
    "a password": ("[databases]\na = host=b password=c", "a file that people copy is no place for a password"),
    "spaces in an entry": ("[databases]\na = host = b", "not an entry: write name=value, without spaces around the ="),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_an_ini_is_refused(case: str) -> None:
    """At its own line, once."""
    text, message = MISTAKES[case]
    line = text.count("\n") + 1
    assert [str(problem).partition("; did you mean")[0] for problem in problems("a.ini", text + "\n")] == [
        f"a.ini:{line}: {message}"
    ]


def test_what_is_right_is_accepted() -> None:
    """Comments, includes, fractions of a second, and quoted values with spaces."""
    text = """\
; a comment
%include other.ini
query_wait_timeout = 1.5
unix_socket_dir =
[databases]
* = host=10.0.0.1 connect_query='select 1'
[users]
ops = pool_mode=session
[pgbouncer]
pool_mode = transaction
"""
    assert problems("a.ini", text) == []
