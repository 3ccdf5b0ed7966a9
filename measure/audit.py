"""How often the audit is right: what it finds in real packages, beside how each finding was judged by its reader."""

import json
import runpy
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Container, Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from proven import ROOT
from proven.evidence.measurements import FOLDER
from setup import others

JUDGED = ROOT / "docs/data/audit.json"
FILE = ROOT / FOLDER / "audit.json"
AUDIT = ROOT / "snippets/audit/audit.py"
LABELS = {
    "version": "Version",
    "lines": "Lines",
    "found": "Found",
    "right": "Right",
    "missed": "Missed",
    "precision": "Of these",
    "now": "Found now",
    "rightly": "Right now",
    "rounds": "Packages",
    "first": "The first",
    "second": "The second",
    "packages": "Package",
    "rules": "Rule",
}
Place = tuple[str, str, int, str]  # a package, a file, a line and a rule


def place(row: dict[str, Any]) -> Place:
    """Return what was judged, without the judgement."""
    return row["package"], row["file"], row["line"], row["rule"]


def named(package: Distribution) -> str:
    """Return a package's name as the index writes it."""
    return package.metadata["Name"].lower().replace("_", "-")


def read(audit: Path, package: Distribution, folder: Path) -> tuple[set[Place], int]:
    """Return what an audit finds in a package, and how many lines that package has."""
    files = [file for file in package.files or [] if ".dist-info" not in file.parts[0] and ".." not in file.parts]
    tops = sorted({top for file in files if (top := folder / file.parts[0]).exists()})  # uv moves scripts away
    # Some are written for a newer Python than the one of .venv.
    python = others.interpreter("3.14", "3.13", "3.12")
    done = subprocess.run([python, audit, "--json", *tops], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{named(package)}: {done.stderr}")
    names = runpy.run_path(str(audit))
    lines = sum(file.read_bytes().count(b"\n") for file in {file for top in tops for file in names["files"](top)})
    return {
        (named(package), Path(each["file"]).relative_to(folder).as_posix(), each["line"], each["rule"])
        for each in json.loads(done.stdout)["findings"]
    }, lines


def read_all(audit: Path, folder: Path, names: Container[str]) -> tuple[dict[str, dict[str, Any]], set[Place]]:
    """Return what is known of each of these packages, and all that an audit finds in them."""
    packages, found = {}, set[Place]()
    for package in sorted(distributions(path=[str(folder)]), key=named):
        if named(package) in names:
            here, lines = read(audit, package, folder)
            packages[named(package)] = {"version": package.version, "lines": lines, "found": len(here)}
            found |= here
    return packages, found


def read_first(unseen: dict[str, Any], folder: Path) -> set[Place]:
    """Return what the audit of that time, from git, found in packages that nobody had seen."""
    with tempfile.TemporaryDirectory() as then:
        audit = Path(then, "audit.py")
        audit.write_bytes(subprocess.check_output(["git", "cat-file", "blob", unseen["audit"]], cwd=ROOT))
        return read_all(audit, folder, unseen["packages"])[1]


def counted(found: set[Place], right: dict[Place, bool]) -> dict[str, Any]:
    """Return how many findings there are, how many of them are right, and their share."""
    good = sum(right[each] for each in found)
    precision = {"value": round(100 * good / len(found), 1), "unit": "%"} if found else None
    return {"found": len(found), "right": good, "precision": precision}


def refuse_unlike(found: set[Place], judged: set[Place]) -> None:
    """Exit where a finding has not been judged, or a judged one is no longer found."""
    unlike = [f"not judged yet: {each}" for each in sorted(found - judged)]
    unlike += [f"not found any more: {each}" for each in sorted(judged - found)]
    if unlike:
        sys.exit("\n".join([*unlike, f"{JUDGED.name}: read each finding, and record whether it is right"]))


def by_rule(found: set[Place], right: dict[Place, bool], rules: Iterable[str]) -> dict[str, Any]:
    """Return how often each rule was right."""
    return {rule: counted({one for one in found if one[-1] == rule}, right) for rule in rules}


def of_round(
    names: Container[str], packages: dict[str, Any], first: set[Place], found: set[Place], right: dict[Place, bool]
) -> dict[str, Any]:
    """Return how often it was right in some packages when it first read them, and how often it is now."""
    read = [each for name, each in packages.items() if name in names]
    now = counted({each for each in found if each[0] in names}, right)
    return {
        "read": len(read),
        "lines": sum(each["lines"] for each in read),
        **counted(first, right),
        "now": now["found"],
        "rightly": now["right"],
    }


def main() -> None:
    """Read each package, and write how often each rule was right; refuse what nobody has judged."""
    judged = json.loads(JUDGED.read_text(encoding="utf-8"))
    folder = others.packages("audited", "--python-version", others.PYTHON)
    right = {place(row): row["right"] for row in judged["judged"]}
    packages, found = read_all(AUDIT, folder, judged["packages"])
    first = {name: read_first(each, folder) for name, each in judged["unseen"].items()}
    firsts = set[Place]().union(*first.values())
    refuse_unlike(found | firsts, set(right))
    missed = Counter(row["rule"] for row in judged["missed"])
    rules = by_rule(found, right, runpy.run_path(str(AUDIT))["RULES"])
    tree = {
        "labels": LABELS,
        "read": len(packages),
        "lines": sum(each["lines"] for each in packages.values()),
        **counted(found, right),
        "missed": missed.total(),
        "known": len(rules),
        "unmet": sum(not each["found"] for each in rules.values()),
        "unseen": {
            "rounds": {
                name: of_round(each["packages"], packages, first[name], found, right)
                for name, each in judged["unseen"].items()
            },
            "rules": by_rule(firsts, right, sorted({each[-1] for each in firsts})),
        },
        "rules": {rule: each | {"missed": missed[rule]} for rule, each in rules.items()},
        "packages": packages,
    }
    FILE.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    print(f"{tree['right']} of {tree['found']} are right, in {len(packages)} packages: {FILE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
