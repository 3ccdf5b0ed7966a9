"""A Docker engine, where one answers, and the example project in containers, as a reader brings it up."""

import json
import os
import re
import secrets
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from proven import evidence, guide
from proven.macros import catalogue
from proven.problems import ProblemError
from proven.sources.snippets import Snippet
from tests.stack.leash import Leash
from tests.stack.wait import free_port

# What an image is built from or is, in compose.yaml and in a Dockerfile.
IMAGE = re.compile(r"^(?:FROM| +image:) (\S+:\S+)", re.MULTILINE)
# Set where an engine has stand-ins for the official images: `name:18` then serves for what is pinned as `name:18.6`.
STAND_INS = "PROVEN_STAND_INS"


@cache
def engine() -> dict[str, str]:
    """Return the versions of the engine and of Compose, and whose images it has.

    Raises RuntimeError where none answers, in the same words everywhere: they are published as the reason.
    """
    try:
        server = docker("version", "--format", "{{.Server.Version}}")
        compose = docker("compose", "version", "--short")
    except (OSError, RuntimeError):
        raise RuntimeError("needs a Docker engine with Compose") from None
    images = "stand-ins" if os.environ.get(STAND_INS) else "official"
    return {"Docker": _plain(server), "Compose": _plain(compose), "Images": images}


def docker(*arguments: str, **environment: str) -> str:
    """Run docker, and return what it printed. Raises RuntimeError with what it said where it fails."""
    result = subprocess.run(
        ["docker", *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    if result.returncode:
        raise RuntimeError(result.stderr or result.stdout)
    return result.stdout.strip()


class Lab:
    """The folders `upstream` and `pgbouncer` as their archives unpack, and the containers that they become.

    Its project has a name and a port that no other run has. However this process ends, everything of it is deleted.
    """

    def __init__(self, folder: Path) -> None:
        of = guide.read()
        for name in ("pgbouncer", "upstream"):
            unpack = ["tar", "--extract", "--directory", folder]
            subprocess.run(unpack, input=catalogue.archive(of, name), check=True)
        self.folder = folder / "upstream"
        self.port = free_port()
        self.name = f"proven-{secrets.token_hex(4)}"
        (self.folder / ".env").write_text(f"WEB_PORT={self.port}\n")
        self.environment = {"COMPOSE_PROJECT_NAME": self.name, "COMPOSE_ANSI": "never"}
        self._leash = Leash("compose")
        gone = "docker compose down --volumes --rmi local --remove-orphans --timeout 1"
        self._leash.run(
            ["sh", "-c", f"trap '{gone}; exit' TERM; while :; do sleep 3600 & wait; done"],
            env={**os.environ, **self.environment},
            cwd=self.folder,
        )
        if os.environ.get(STAND_INS):
            for file in (self.folder / "compose.yaml", *folder.glob("*/Dockerfile")):
                for image in IMAGE.findall(file.read_text(encoding="utf-8")):
                    name = image.partition(":")[0]
                    local = docker("image", "ls", "--format", "{{.Tag}}", name).splitlines()
                    docker("tag", f"{name}:{stand_in(image, local)}", image)

    def run(self, snippet: Snippet, *arguments: str) -> str:
        """Run one of the reader's scripts, and return what it printed. Raises ProblemError where it fails."""
        evidence.ran(snippet)
        result = subprocess.run(
            [self.folder.parent / snippet.path, *arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if result.returncode:
            raise ProblemError(snippet.place, 1, f"ended with {result.returncode}: {result.stdout}{result.stderr}")
        return result.stdout

    def compose(self, *arguments: str) -> str:
        """Run docker compose in the project's folder. Raises RuntimeError where it fails."""
        return docker("compose", "--project-directory", str(self.folder), *arguments, **self.environment)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what the engine knows of each service's container, also of one that has ended."""
        found = json.loads(docker("inspect", *self.compose("ps", "--all", "--quiet").split()))
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def check(self, service: str) -> int:
        """Run a service's health check once, and return its exit status."""
        container = self.containers()[service]
        try:
            docker("exec", container["Id"], *container["Config"]["Healthcheck"]["Test"][1:])
        except RuntimeError:
            return 1
        return 0

    def stop(self) -> None:
        """Delete everything of this project."""
        self._leash.stop()


def left(project: str) -> dict[str, str]:
    """Return what the engine still has of a project, by its name."""
    listings = {
        "containers": ("ps", "--all"),
        "volumes": ("volume", "ls"),
        "networks": ("network", "ls"),
        "images": ("image", "ls", "--all"),
    }
    of_it = ("--quiet", "--filter", f"label=com.docker.compose.project={project}")
    found = {kind: docker(*listing, *of_it) for kind, listing in listings.items()}
    return {kind: names for kind, names in found.items() if names}


def stand_in(image: str, local: list[str]) -> str:
    """Return which of the local tags stands in for a pinned image: of those that it specifies further, the longest.

    Raises RuntimeError where there is none.
    """
    parts = set(re.split(r"[.:-]", image))
    fitting = [tag for tag in local if set(re.split(r"[.-]", tag)) <= parts]
    if not fitting:
        raise RuntimeError(f"no stand-in for {image}: there is {', '.join(local) or 'none'}")
    return max(fitting, key=len)


def _plain(version: str) -> str:
    """Return a version without what a distribution adds to it."""
    return re.sub(r"[^\d.].*", "", version.strip().lstrip("v"))
