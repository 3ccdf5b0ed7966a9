"""`make links` on a small site with a link that is dead: the host that it asks is here."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proven import ROOT
from tests.stack.leash import Leash, closed
from tests.stack.wait import DEADLINE


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """The address of a host that has one page, and one that has moved."""
    (tmp_path / "here").touch()
    (tmp_path / "moved").mkdir()  # whose address ends in a slash
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def site() -> Iterator[Path]:
    """A folder that the checker can read: as root it becomes nobody."""
    if os.geteuid() == 0 and closed(Path(sys.prefix)):
        pytest.skip("the checker gives up root, and then cannot read its own files here")
    leash = Leash("links")
    leash.folder.chmod(0o755)
    yield leash.folder
    leash.stop()


def asked(site: Path, page: str) -> subprocess.CompletedProcess[str]:
    """Run the command of `make links` on a site with this page."""
    (site / "how-to").mkdir()
    (site / "index.html").write_text('<!doctype html><title>Home</title><a href="how-to/">How to</a>')
    (site / "how-to/index.html").write_text(page)
    recipe = subprocess.run(["make", "--dry-run", "links"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (line,) = [line for line in recipe.splitlines() if "linkchecker" in line]
    command = line.replace("build/links", str(site)).split()
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)


def test_a_page_that_is_gone_is_named(site: Path, host: str) -> None:
    """With the page and the line that lead to it; the one that is there is not."""
    result = asked(site, f'<a href="{host}/here">Here</a>\n<a href="{host}/gone">Gone</a>\n')
    assert result.returncode == 1
    assert "1 error found" in result.stdout
    assert f"{host}/gone" in result.stdout
    assert "how-to/index.html, line 2" in result.stdout


def test_a_page_that_has_moved_is_named_with_its_new_address(site: Path, host: str) -> None:
    """Where the old address leads on, too: it may not always."""
    result = asked(site, f'<a href="{host}/here">Here</a>\n<a href="{host}/moved">Moved</a>\n')
    assert result.returncode == 1
    assert f"Redirected to `{host}/moved/'" in " ".join(result.stdout.split())
    assert "how-to/index.html, line 2" in result.stdout
    assert f"{host}/here" not in result.stdout
