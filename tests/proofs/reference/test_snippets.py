"""Proves docs/reference/snippets.md: what is published is what ran, and archives have the same bytes everywhere."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from proven import ROOT, evidence, guide
from proven.macros import catalogue
from proven.sources import snippets
from proven.sources.controls import control, each, here, replace
from tests.lint import shared
from tests.lint.findings import refuse

WRITE = """
import sys; from pathlib import Path
from proven import guide; from proven.site import publish
publish.write_snippets(Path(sys.argv[1]), guide.read(Path(sys.argv[2])))
"""


def publish(site: Path, root: Path = ROOT, umask: str = "022", **environment: str) -> Path:
    """Write the catalogue of a project into a site, in a process of its own, and return the site."""
    site.mkdir()
    command = ["sh", "-c", f'umask {umask} && exec "$@"', "", sys.executable, "-c", WRITE, site, root]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue as it is published."""
    return publish(tmp_path_factory.mktemp("published") / "site")


@control(
    here(
        "WRITE",
        "WRITE + \"next(Path(sys.argv[1]).rglob('usage.sql')).write_text('')\"",
        of="tests.proofs.reference.test_snippets:publish",
    )
)
def test_a_download_is_what_the_proofs_ran(site) -> None:
    """Each file has the digest that the ledger is bound to, and no region marker."""
    listed = json.loads((site / catalogue.MANIFEST).read_text())["snippets"]
    assert [entry["path"] for entry in listed] == list(guide.remembered().snippets)
    for entry in listed:
        content = (site / entry["url"]).read_bytes()
        assert content == snippets.read(entry["path"]).text.encode(), f"{entry['url']} differs"
        assert b"region:" not in content, entry["url"]
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"])


@control(
    here(
        "WRITE",
        '"import os; from proven.macros import catalogue; catalogue.DAY_ONE = os.getpid()" + WRITE',
        of="tests.proofs.reference.test_snippets:publish",
    )
)
def test_an_archive_has_the_same_bytes_wherever_it_is_built(site, tmp_path) -> None:
    """Files with another age, umask and order on disk, in another time zone, make the same archive."""
    root = tmp_path / "elsewhere"
    for path in sorted(snippets.paths(), reverse=True):
        file = root / snippets.FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / snippets.FOLDER / path, file)
        file.chmod(0o600)
        os.utime(file, (10**9, 10**9))
    other = publish(tmp_path / "site", root, umask="077", TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="1")
    listed = json.loads((site / catalogue.MANIFEST).read_text())["archives"]
    assert [entry["folder"] for entry in listed] == list(catalogue.ARCHIVES)
    for entry in listed:
        content = (other / entry["url"]).read_bytes()
        assert content == (site / entry["url"]).read_bytes(), f"{entry['url']} differs"
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"])


@control(replace("proven.macros.catalogue:DAY_ONE", 0))
@control(here('f"{folder}.tar"', 'f"{catalogue.ARCHIVES[0]}.tar"'))
def test_an_archive_holds_what_is_published_file_by_file(site, tmp_path) -> None:
    """Unpacked, it is the folder, with scripts that are executable; it records neither an owner nor a build date."""
    for folder in catalogue.ARCHIVES:
        archive = site / snippets.FOLDER / f"{folder}.tar"
        with tarfile.open(archive) as tar:
            assert {(member.uid, member.uname, member.mtime) for member in tar} == {(0, "", catalogue.DAY_ONE)}
        subprocess.run(["tar", "--extract", "--file", archive, "--directory", tmp_path], check=True)
        published = site / snippets.FOLDER / folder
        files = {file.relative_to(published) for file in published.rglob("*") if file.is_file()}
        unpacked = tmp_path / folder
        assert files == {file.relative_to(unpacked) for file in unpacked.rglob("*") if file.is_file()}
        for file in files:
            content = (unpacked / file).read_bytes()
            assert content == (published / file).read_bytes()
            assert os.access(unpacked / file, os.X_OK) == content.startswith(b"#!") or os.geteuid() == 0


@control(each("pgbouncer/tls.ini", but={"its own proofs hold it, with TLS": ["*_sslmode"]}))
@control(each("pgbouncer/tls.env", but={"its own proof holds it, with TLS": ["PGSSLMODE"]}))
@control(each("pgbouncer/auth_query.ini"))
@control(each("pgbouncer/peers.ini", but={"its own proof holds it": ["*.max_db_connections"]}))
@control(each("monitoring/postgres_exporter.env", but={"it is where you keep it": ["DATA_SOURCE_PASS_FILE"]}))
@control(each("monitoring/pgbouncer_exporter.env", but={"it is where you keep it": ["PGPASSFILE"]}))
@control(each("monitoring/mtail.env", but={"it is where your logs are": ["LOGS"]}))
@control(
    each(
        "monitoring/prometheus.yml",
        but={
            "how often it asks is yours to choose": ["global.*_interval"],
            "it is where the guide is, which puts it there": ["global.external_labels.guide"],
            "nothing refers to it": ["scrape_configs.*.job_name"],
        },
    )
)
@control(
    each(
        "monitoring/queries.yml",
        but={"the alerts' proofs hold it": ["*.query"], "it is for people to read": ["*.description"]},
    )
)
@control(
    each(
        "odyssey/odyssey.conf",
        but={
            "it is as you start it": ["daemonize"],
            "it is yours to choose": ["workers", "log_*", "unix_socket_*"],
            "it is yours": ["*.password"],
        },
    )
)
@control(
    each(
        "poolers/pgagroal.conf",
        but={"it is where you keep it": ["*.unix_socket_dir"], "it is yours to choose": ["*.log_type"]},
    )
)
@control(each("poolers/pgagroal_hba.conf"))
@control(each("poolers/pgagroal_databases.conf"))
@control(
    each(
        "poolers/pgpool.conf",
        but={"it is where you keep it": ["*_dir*", "pid_file_name", "pool_passwd"]},
    )
)
@control(each("poolers/pool_hba.conf"))
@control(each("upstream/.env.example", but={"its own proof holds it": ["DJANGO_ALLOWED_HOSTS"]}))
@control(each("sizing/process.env"))
@control(each("sizing/postgresql.conf"))
@control(
    each(
        "cloud/sql/pooling.env",
        but={"the proofs of the addresses hold them": ["DATABASE_*"], "it is where you keep it": ["PGSSLROOTCERT"]},
    )
)
def test_what_one_file_of_settings_names_another_one_has(load) -> None:
    """Hosts, ports, roles, databases, paths and defaults are the same in every file that has them."""
    paths = sorted({path for path, _, _ in shared.partners()})
    for path in paths:
        evidence.ran(load(path), "checked", against=f"the guide's other files, {len(paths)} in all")
    refuse(shared.problems())
