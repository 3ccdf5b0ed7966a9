"""What publish.yml uploads is the whole site: packed as the action packs it, unpacked, served, and fetched again."""

import hashlib
import http.client
import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

import pytest
import yaml

from proven import ROOT
from proven.macros import catalogue
from tests.site.server import Server, leads_to

# The action's own command on Linux, read in its action.yml at this commit: another one has to be read again.
READ = "actions/upload-pages-artifact@fc324d3547104276b827a68afc52ff2a11cc49c9"
PACKS = """
tar --dereference --hard-dereference --directory "$INPUT_PATH" -cvf "$RUNNER_TEMP/artifact.tar" \
    --exclude=.git --exclude=.github {hidden} .
"""


class Links(HTMLParser):
    """What a page leads to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  (its signature)
        """Note each address."""
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


@pytest.fixture(scope="module")
def step() -> dict[str, Any]:
    """The step that uploads the site."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job.get("steps", [])]
    (found,) = [step for step in steps if step.get("uses", "").startswith(READ.partition("@")[0])]
    return found


@pytest.fixture(scope="module")
def uploaded(step: dict[str, Any], site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that GitHub Pages unpacks."""
    runner = tmp_path_factory.mktemp("artifact")
    hidden = "" if str(step["with"].get("include-hidden-files")).lower() == "true" else "--exclude=.[^/]*"
    given = {"INPUT_PATH": str(site), "RUNNER_TEMP": str(runner), "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", "-e", "-c", PACKS.format(hidden=hidden)], env=given, check=True, capture_output=True)
    subprocess.run(["tar", "-C", runner, "-xf", runner / "artifact.tar", "--one-top-level=pages"], check=True)
    return runner / "pages"


def test_the_action_is_the_one_that_was_read(step: dict[str, Any]) -> None:
    """Else it may pack in another way than here."""
    assert step["uses"] == READ
    assert step["with"]["path"] == "site"


def test_every_file_that_the_manifest_lists_can_be_fetched(uploaded: Path, site: Path) -> None:
    """Hidden ones too: each with the bytes of the site, and those that its digest speaks of."""
    host = Server(uploaded)
    try:
        manifest = json.loads(fetch(host, catalogue.MANIFEST))
        for entry in [*manifest["snippets"], *manifest["archives"]]:
            content = fetch(host, entry["url"])
            assert content == (site / entry["url"]).read_bytes(), f"{entry['url']} is not what the site has"
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"])
    finally:
        host.close()


def test_every_file_that_a_page_leads_to_can_be_fetched(uploaded: Path, site: Path) -> None:
    """With the bytes of the site."""
    host = Server(uploaded)
    led = {}
    for page in sorted(site.rglob("*.html")):
        address = host.address + page.relative_to(site).as_posix()
        for link in Links(page.read_text(encoding="utf-8")).found:
            target, _ = urldefrag(urljoin(address, link))
            if target.startswith(host.address):
                led[target.removeprefix(host.address)] = page.relative_to(site)
    try:
        assert len(led) > len(list(site.rglob("index.html")))
        for target, page in led.items():
            there = leads_to(f"{host.base}{target}", site)
            assert fetch(host, target) == there.read_bytes(), f"{page} leads to {target}, which is not on Pages"
    finally:
        host.close()


def test_nothing_else_of_the_site_is_left_out(uploaded: Path, site: Path) -> None:
    """Nor is what scripts and machines ask for: the index of the search, Markdown, the sitemap."""
    files = [file.relative_to(site) for file in site.rglob("*") if file.is_file()]
    assert files
    assert [file for file in files if not (uploaded / file).is_file()] == []
    for file in files:
        assert (uploaded / file).read_bytes() == (site / file).read_bytes(), file


def fetch(host: Server, path: str) -> bytes:
    """Return what the host sends for a path below its base, whatever its status is."""
    connection = http.client.HTTPConnection("127.0.0.1", host.server_port, timeout=30)
    connection.request("GET", f"{host.base}{path}")
    try:
        return connection.getresponse().read()
    finally:
        connection.close()
