"""What tests of the site ask for by name, and the report of what its pages weigh."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, sync_playwright

from proven import ROOT, whole
from proven.guide import Guide, remembered
from proven.pytest_plugin import SESSION
from tests.lint import files
from tests.site import chromium, fonts, known
from tests.site.server import Server
from tests.site.visit import AXE, Reader, Visit, Visited, visit
from tests.stack.wait import DEADLINE

# Where it says that it is: at the root of a host, so that it can be served from anywhere.
URL = "https://guide.example/"
REPORT = ROOT / "build" / "weight.txt"
VISIT = "site-visit"


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's folder as a fresh clone has it: without what its proofs did here since."""
    return once("clone", tmp_path_factory, files.clone)


@pytest.fixture(scope="session")
def site(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site's folder, of the clone: so its pages are the same in each run until somebody edits them."""
    return once("site", tmp_path_factory, partial(build, clone))


@pytest.fixture(scope="session")
def the_guide() -> Guide:
    """The guide as it is: to read it takes longer than most tests."""
    return remembered()


def once(name: str, factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """Return a folder that is made once a run, by whichever worker asks first."""
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / name).exists():
            make(shared / f"{name}.part")
            (shared / f"{name}.part").rename(shared / name)
    return shared / name


def build(clone: Path, folder: Path) -> None:
    """Build the site. Fails with what MkDocs says."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "SITE_URL": URL}
    result = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# Of a module, not of the session: while Playwright is open, an event loop runs in this thread, and others mind.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window. Its own sandbox is off: it would refuse root, and it sees none but our pages."""
    options = ["--disable-gpu", "--disable-background-networking"]
    with ExitStack() as stack:
        try:
            program = chromium.find()
            with chromium.driven():
                playwright = stack.enter_context(sync_playwright())
        except RuntimeError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        environment = {**program.surroundings(), **fonts.environment()}
        started = playwright.chromium.launch(
            executable_path=program.path, env={**environment}, args=options, timeout=1000 * DEADLINE
        )
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
    return partial(visit, browser, host)


@pytest.fixture(scope="module")
def opened(reader: Reader) -> Iterator[Visit]:
    """A reader who goes on from page to page: that takes half of what first visits do. The first is shown at once."""
    with reader("robots.txt") as visit:
        yield visit


@pytest.fixture
def visited(request: pytest.FixtureRequest, site: Path) -> Visited:
    """Visit a page, unless it is known to be in order: visited("how-to/pgbouncer/", visit_first)."""
    seen = known.Known(request.node.name, site)

    def unless_known(page: str, check: Callable[[str, Reader], Visit]) -> None:
        weight, made = seen.recall(), False
        if weight is None:
            visit, made = check(page, request.getfixturevalue("reader")), True
            weight = visit.weighed
            seen.remember(visit.sent(), weight)
        request.node.user_properties.append((VISIT, (page, weight, made)))

    return unless_known


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no page visited."""
    config.pluginmanager.register(Report(), "site-report")


class Report:
    """Which pages were visited, and what they weigh, gathered where the run is controlled."""

    def __init__(self) -> None:
        self.weights: dict[str, int] = {}
        self.made: list[bool] = []  # whether a page was visited now, or known to be in order

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note which page a test has visited."""
        for key, value in report.user_properties if report.when == "call" else ():
            if key == VISIT and isinstance(value, tuple | list):
                page, weight, made = value
                self.made.append(made)
                if weight:
                    self.weights[page] = weight

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Say which browser it was, in the ledger too."""
        if self.made and (browser := known.browser()):
            name, _, version = browser.rpartition(" ")
            session.config.stash[SESSION].outcome.tools[name] = version

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say it in two lines, and write all weights into a file."""
        if self.made:
            terminalreporter.write_line(
                f"visits    {len(self.made)} to pages, {sum(self.made)} of them made now: "
                "where no byte has changed, what was in order still is"
            )
        if not self.weights:
            return
        heaviest = sorted(self.weights.items(), key=lambda item: -item[1])
        whole.write(REPORT, "".join(f"{weight / 1000:7.1f} KB  /{page}\n" for page, weight in heaviest))
        page, weight = heaviest[0]
        terminalreporter.write_line(
            f"weight    {len(heaviest)} pages, the heaviest {weight / 1000:.0f} KB (/{page}); all: build/{REPORT.name}"
        )
