"""Which flags gcloud's commands take, from the list that it completes them by, so that no gcloud is needed to know.

gcloud.json has those of the commands that snippets use. `python -m tests.lint.gcloud` writes it, where gcloud is.
"""

import json
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proven.problems import Problem, nearest

FILE = Path(__file__).with_suffix(".json")
COMMANDS = (
    "auth print-access-token",
    "beta sql instances patch",
    "run deploy",
    "run services replace",
    "run services update",
    "secrets add-iam-policy-binding",
    "secrets create",
    "sql instances create",
    "sql instances describe",
    "sql instances patch",
)
SILENT = ["--platform"]  # taken, and never offered
KNOWN: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
COMMAND = re.compile(r"^(?:# )?\s*(gcloud (?:.*\\\n)*.*)", re.MULTILINE)


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each gcloud command of a script: the line on which it begins, and its words."""
    for found in COMMAND.finditer(text):
        yield text.count("\n", 0, found.start(1)) + 1, shlex.split(re.sub(r"\\\n#?", " ", found[1]))


def refused(words: list[str]) -> list[str]:
    """Return what gcloud would not understand: words as in ["run", "deploy", "upstream", "--region=us-central1"]."""
    name = next((name for name in KNOWN["flags"] if words[: name.count(" ") + 1] == name.split()), "")
    if not name:
        return [f"gcloud {' '.join(words[:3])}: not among the commands of {FILE.name}"]
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    known = [*KNOWN["flags"][name], *KNOWN["everywhere"], *SILENT]
    known += [flag.replace("--", "--no-", 1) for flag in known]
    return [f"gcloud {name} has no flag {flag}{nearest(flag, known)}" for flag in flags if flag not in known]


def problems(path: str, text: str) -> list[Problem]:
    """Return the flags in a script that gcloud does not have, each at its own line."""
    found = []
    for first, words in commands(text):
        for message in refused(words[1:]):
            flag = re.search(r"has no flag (\S+?)(?:;|$)", message)
            lines = text.splitlines()
            at = next((n for n in range(first, len(lines) + 1) if flag and flag[1] in lines[n - 1]), first)
            found.append(Problem(path, at, message))
    return found


def record() -> None:
    """Write the flags of the gcloud that is installed."""
    root = Path(shutil.which("gcloud") or sys.exit("gcloud is not installed")).resolve().parents[1]
    tree = runpy.run_path(str(root / "data/cli/gcloud_completions.py"))["STATIC_COMPLETION_CLI_TREE"]
    flags = {}
    for name in COMMANDS:
        node, known = tree, set()
        for word in name.split():
            node = node["commands"][word]
            known |= set(node["flags"])  # a group's are its commands' as well
        flags[name] = sorted(known)
    version = (root / "VERSION").read_text().strip()
    FILE.write_text(
        json.dumps({"version": version, "everywhere": sorted(tree["flags"]), "flags": flags}, indent=1) + "\n"
    )


if __name__ == "__main__":
    record()
