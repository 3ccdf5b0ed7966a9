"""Which stacks the version matrix is made of."""

from tests.stack.matrix import Stack, here, stacks


def test_the_newest_pgbouncer_meets_every_other_part() -> None:
    """An older one meets the PostgreSQL of Debian 12 and the one of `make test`."""
    found = list(stacks(["old", "new"], ["14", "15", "18"], ["django-next"]))
    assert found == [
        Stack("old", "15"),
        Stack("old", "18"),
        Stack("new", "14"),
        Stack("new", "15"),
        Stack("new", "18"),
        Stack("new", "18", django="django-next"),
        Stack("new", "18", driver="psycopg2"),
    ]


def test_what_cannot_be_had_is_said() -> None:
    """With its name and the reason."""

    def fetch(name: str) -> str:
        if name == "15":
            raise RuntimeError("no network")
        return f"/{name}"

    said: list[str] = []
    assert here("PostgreSQL", ("14", "15"), fetch, said) == {"14": "/14"}
    assert said == ["not here  PostgreSQL 15: no network"]
