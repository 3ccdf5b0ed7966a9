"""How often the audit is right: what it finds in real packages, beside how each finding was judged by who read it."""

import json
import runpy
import sys
from collections import Counter
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from proven import ROOT
from proven.evidence.measurements import FOLDER
from setup import others

JUDGED = ROOT / "docs/data/audit.json"
FILE = ROOT / FOLDER / "audit.json"
LABELS = {
    "version": "Version",
    "lines": "Lines",
    "found": "Found",
    "right": "Right",
    "missed": "Missed",
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


def read(audit: dict[str, Any], package: Distribution, folder: Path) -> tuple[set[Place], int]:
    """Return what is found in a package, and how many lines it has."""
    files = [file for file in package.files or [] if ".dist-info" not in file.parts[0] and ".." not in file.parts]
    tops = sorted({top for file in files if (top := folder / file.parts[0]).exists()})  # uv moves scripts away
    read = {file for top in tops for file in audit["files"](top)}
    found = audit["audit"](tops)
    lines = sum(file.read_bytes().count(b"\n") for file in read)
    return {
        (named(package), Path(each.file).relative_to(folder).as_posix(), each.line, each.rule) for each in found
    }, lines


def main() -> None:
    """Read each package, and write how often each rule was right; refuse what nobody has judged."""
    judged = json.loads(JUDGED.read_text(encoding="utf-8"))
    audit = runpy.run_path(str(ROOT / "snippets/audit/audit.py"))
    folder = others.packages("audited")
    right = {place(row): row["right"] for row in judged["judged"]}
    packages, found = {}, set[Place]()
    for package in sorted(distributions(path=[str(folder)]), key=named):
        here, lines = read(audit, package, folder)
        packages[named(package)] = {"version": package.version, "lines": lines, "found": len(here)}
        found |= here
    unlike = [*(f"not judged yet: {each}" for each in sorted(found - set(right)))]
    unlike += [f"not found any more: {each}" for each in sorted(set(right) - found)]
    if unlike:
        sys.exit("\n".join([*unlike, f"{JUDGED.name}: read each, and say whether it is right"]))
    met, good = Counter(each[-1] for each in found), Counter(each[-1] for each in found if right[each])
    missed = Counter(row["rule"] for row in judged["missed"])
    rules = {
        rule: {"found": met[rule], "right": good[rule], "missed": missed[rule]}
        for rule in audit["RULES"]
        if met[rule] or missed[rule]
    }
    tree = {
        "labels": LABELS,
        "read": len(packages),
        "lines": sum(each["lines"] for each in packages.values()),
        "found": len(found),
        "right": good.total(),
        "missed": missed.total(),
        "precision": {"value": round(100 * good.total() / len(found), 1), "unit": "%"},
        "rules": rules,
        "packages": packages,
    }
    FILE.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    print(f"{good.total()} of {len(found)} are right, in {len(packages)} packages: {FILE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
