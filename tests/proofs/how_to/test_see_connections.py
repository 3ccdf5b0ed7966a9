"""Proves docs/how-to/see-connections.md."""


def test_usage_divides_by_usable_slots(database, load, sessions, transcript) -> None:
    """The query counts client backends only, and divides by the slots an ordinary role can have."""
    snippet = load("postgres/usage.sql")
    for _ in range(3):
        sessions(database)
    output = database.psql(snippet)
    transcript(snippet, output, volatile=[(r"\d+", "N")])
    assert "clients" in output
