"""What tests of the site ask for by name, and the report of what its pages weigh."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, sync_playwright

from proven import ROOT
from tests.site import chromium
from tests.site.server import Server
from tests.site.visit import AXE, SCREENSHOTS, Reader, visit

# Where it says that it is: at the root of a host, so that it can be served and looked at from anywhere.
URL = "https://guide.example/"
REPORT = ROOT / "build" / "weight.txt"
WEIGHT = "site-weight"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site's folder. It is built once a run, by whichever worker asks first."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "site"
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = shared / "site.part"
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(part)]
            environment = {**os.environ, "SITE_URL": URL}
            result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            part.rename(folder)
    return folder


# Of a module, not of the session: while Playwright is open, an event loop runs in this thread, and others mind.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window. Its own sandbox is off: it would refuse root, and it sees none but our pages."""
    try:
        path, environment = chromium.find()
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    options = ["--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, env={**environment}, args=options)
        yield started
        started.close()


@pytest.fixture(scope="module")
def host(site: Path) -> Iterator[Server]:
    """The built site, served on a loopback port, and axe beside it."""
    made = Server(site, beside={AXE: AXE_FILE_PATH})
    yield made
    made.close()


@pytest.fixture(scope="module")
def reader(browser: Browser, host: Server) -> Reader:
    """A reader who has never been here: reader("how-to/pgbouncer/", "dark", viewport=PHONE)."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return partial(visit, browser, host)


@pytest.fixture
def weigh(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """Report what a page weighs: weigh("how-to/pgbouncer/", 86_000)."""
    return lambda page, weight: request.node.user_properties.append((WEIGHT, (page, weight)))


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no page weighed."""
    config.pluginmanager.register(Report(), "site-report")


class Report:
    """What pages weigh, gathered where the run is controlled."""

    def __init__(self) -> None:
        self.weights: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a test has weighed."""
        for key, value in report.user_properties:
            if key == WEIGHT and isinstance(value, tuple | list):
                page, weight = value
                self.weights[page] = weight

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say it in a line, and write all of it into a file."""
        if not self.weights:
            return
        heaviest = sorted(self.weights.items(), key=lambda item: -item[1])
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text("".join(f"{weight / 1000:7.1f} KB  /{page}\n" for page, weight in heaviest))
        page, weight = heaviest[0]
        terminalreporter.write_line(
            f"weight    {len(heaviest)} pages, the heaviest {weight / 1000:.0f} KB (/{page}); all: build/{REPORT.name}"
        )
