"""A Compose file as guides have it: every one of its mistakes is refused, with the line and the reason."""

from pathlib import Path

from tests.lint import compose

# A compose file as guides have it, and the pgbouncer.ini that it mounts.
FROM_A_GUIDE = """\
version: '3.8'

services:
  pgbouncer:
    image: pgbouncer/pgbouncer:latest
    environment:
      DATABASES_HOST: cloudsql-proxy
      DATABASES_PORT: 5432
      DATABASES_DBNAME: upstream
      PGBOUNCER_POOL_MODE: transaction
      PGBOUNCER_DEFAULT_POOL_SIZE: 25
      PGBOUNCER_MAX_CLIENT_CONN: 100
    ports:
      - "6432:5432"
    volumes:
      - ./pgbouncer.ini:/etc/pgbouncer/pgbouncer.ini
      - ./userlist.txt:/etc/pgbouncer/userlist.txt

  app:
    build: .
    environment:
      DATABASE_URL: postgresql://user:pass@pgbouncer:6432/upstream
    depends_on:
      - pgbouncer
"""
INI_FROM_A_GUIDE = """\
[databases]
upstream = host=cloudsql-proxy port=5432 dbname=upstream

[pgbouncer]
pool_mode = transaction
default_pool_size = 25
reserve_pool_size = 5
max_client_conn = 100
max_db_connections = 30
auth_type = md5
auth_file = /etc/pgbouncer/userlist.txt
log_connections = 1
"""
WRONG_WITH_IT = """\
compose.yaml:1: version: Compose ignores it, and says so
compose.yaml:5: pgbouncer/pgbouncer: not an official image, so who knows what it reads: build your own
compose.yaml:5: pgbouncer/pgbouncer:latest: name an exact version, as this is another image tomorrow
compose.yaml:24: app starts when pgbouncer has started, not when it answers
compose.yaml:7: DATABASES_HOST: no service is called cloudsql-proxy
compose.yaml:22: DATABASE_URL: a file that people copy is no place for a password
compose.yaml:22: DATABASE_URL: pgbouncer knows no user user
compose.yaml:22: DATABASE_URL: roles.sql makes no user user
pgbouncer.ini:1: listen_addr: nobody outside of its container reaches it: *
pgbouncer.ini:10: auth_type: scram-sha-256, as PostgreSQL has it
pgbouncer.ini:2: upstream: no service is called cloudsql-proxy
compose.yaml:14: ports: pgbouncer listens on 6432, not on 5432
"""


def test_a_compose_file_from_a_guide_is_refused(tmp_path: Path) -> None:
    """For each of its mistakes: what its ini says does not come to its rescue."""
    (tmp_path / "compose.yaml").write_text(FROM_A_GUIDE)
    (tmp_path / "pgbouncer.ini").write_text(INI_FROM_A_GUIDE)
    (tmp_path / "userlist.txt").write_text("")
    found = compose.problems(tmp_path / "compose.yaml", tmp_path)
    assert [str(problem) for problem in found] == WRONG_WITH_IT.splitlines()
