"""What the pool doctor has found, in forms for people and programs."""

import json
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

# Replace this with the guide's address: its pages are below it.
GUIDE = "https://guide.example/"
# The worst first, each with its exit status.
LEVELS = {"critical": 2, "warning": 1, "unknown": 3, "ok": 0}
# How a server or a pooler says that it has no connection left for us.
FULL = ("connection slots are reserved", "too many", "no more connections")


class Finding(NamedTuple):
    level: str
    item: str
    value: float | None
    unit: str
    finding: str
    page: str | None


def found(
    item: str,
    value: float | None,
    unit: str,
    finding: str,
    page: str = "",
    *,
    warns: bool = False,
    alarms: bool = False,
) -> Finding:
    """Return a finding with its level, and with its page unless all is well."""
    level = "critical" if alarms else "warning" if warns else "ok"
    where = None if level == "ok" else page
    return Finding(level, item, value, unit, finding, where)


def refused(item: str, error: Exception, full: str, other: str) -> Finding:
    """Return what a failure to connect means: full, or unknown."""
    said = " ".join(str(error).split())
    if any(text in said for text in FULL):
        return Finding("critical", item, None, "", said, full)
    return Finding("unknown", item, None, "", said, other)


def worst(findings: Iterable[Finding]) -> Finding:
    """Return the worst; of several, the one with the largest value."""
    order = list(LEVELS)
    return min(findings, key=lambda f: (order.index(f.level), -(f.value or 0)))


def as_lines(findings: list[Finding]) -> str:
    """Return a line for each finding, and its page on the line below."""
    return "\n".join(chain.from_iterable(map(lines, findings)))


def lines(finding: Finding) -> list[str]:
    level, item, value, unit, said, page = finding
    number = "" if value is None else f"{value:g}"
    line = f"{level:8}  {item:11}  {number:>6} {unit:2}  {said}"
    return [line, f"{'':10}{GUIDE}{page}"] if page else [line]


def as_json(findings: list[Finding]) -> str:
    """Return one line with the worst level and every finding."""
    told = [
        {**f._asdict(), "page": GUIDE + f.page if f.page else None}
        for f in findings
    ]
    return json.dumps({"level": worst(findings).level, "findings": told})


def as_prometheus(findings: list[Finding]) -> str:
    """Return the worst finding of each item, in Prometheus' text format."""
    by_item: dict[str, list[Finding]] = {}
    for finding in findings:
        by_item.setdefault(finding.item, []).append(finding)
    told = [worst(those) for those in by_item.values()]
    return "\n".join(
        [
            "# HELP pool_doctor_level The item's level: 0 ok, 1 warning, "
            "2 critical, 3 unknown.",
            "# TYPE pool_doctor_level gauge",
            *(
                f'pool_doctor_level{{item="{f.item}",'
                f'page="{GUIDE + f.page if f.page else ""}"}} '
                f"{LEVELS[f.level]}"
                for f in told
            ),
            "# HELP pool_doctor_value The item's value, in its unit.",
            "# TYPE pool_doctor_value gauge",
            *(
                f'pool_doctor_value{{item="{f.item}",unit="{f.unit}"}} '
                f"{f.value:g}"
                for f in told
                if f.value is not None
            ),
        ]
    )
