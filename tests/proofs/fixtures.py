"""Fixtures for the proofs of several pages: a reader's server, with TLS too, a standby, a second role."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proofs import deployed
from tests.proofs.pooled import Existing, Setup, reader, reader_with_tls
from tests.proofs.replicated import Pair, replicated
from tests.stack.database import Role
from tests.stack.fixtures import note_postgres


@pytest.fixture(scope="module")
def setup(request: pytest.FixtureRequest, cluster) -> Iterator[Setup]:
    """PostgreSQL with the reader's roles and database."""
    with reader(cluster, _page(request)) as made:
        yield made


@pytest.fixture(scope="module")
def secured(request: pytest.FixtureRequest, cluster, setup) -> Iterator[tuple[Setup, dict[str, Path]]]:
    """The same for a PostgreSQL that has TLS, and the ca.crt of two certificate authorities."""
    with reader_with_tls(cluster, f"{_page(request)}-with-tls", setup) as made:
        yield made


@pytest.fixture(scope="module")
def tables(setup, project) -> None:
    """Create the project's tables."""
    deployed.migrate(setup, project)


@pytest.fixture(scope="session")
def replicas() -> Iterator[Pair]:
    """A primary and its standby, which proofs share and leave as they found them."""
    with replicated() as made:
        yield made


@pytest.fixture
def pair(replicas) -> Pair:
    """The same, caught up, with the PostgreSQL version noted for the running proof."""
    note_postgres(replicas.primary.server.version())
    replicas.catch_up()
    return replicas


@pytest.fixture
def item(database) -> None:
    """A table with one column in the schema public, where Django creates its tables."""
    with database.connect() as owner:
        owner.execute("create table item (id int)")


@pytest.fixture
def second_user(database) -> Iterator[Existing]:
    """The same database for a second role, which may log in and owns nothing."""
    made = Existing(database.server, database.name, Role(database.server))
    yield made
    made.role.drop(made.admin)
    made.leave()


def _page(request: pytest.FixtureRequest) -> str:
    """Return the name of the page that is proven: "how-to-kubernetes"."""
    return f"{request.path.parent.name}-{request.path.stem.removeprefix('test_')}".replace("_", "-")
