"""The README's badge: how many proofs the committed ledger holds, on which PostgreSQLs, and of which day.

python -m proven.site.badge    draws docs/assets/badge.svg again
"""

from pathlib import Path

from proven import ROOT, guide, whole
from proven.evidence import ledger, summary

FILE = "docs/assets/badge.svg"
# About the width of a character of 11 pixels in whatever font is used; textLength stretches the text to fit.
WIDTH = 6.2
SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="proven: {text}">
  <title>proven: {text}</title>
  <rect width="{width}" height="20" rx="3" fill="#0b6b45"/>
  <path d="M0 3a3 3 0 0 1 3-3h64v20H3a3 3 0 0 1-3-3z" fill="#1d2327"/>
  <g fill="none" stroke="#fdfcf9" stroke-linecap="round">
    <path stroke-width="1.1" d="M6.4 4.6 11.4 14.4M5.8 8.8 11.4 14.4M6.6 13 11.4 14.4"/>
    <path stroke="#6fd3a0" stroke-width="2.4" d="M11.4 14.4 19.4 5.4"/>
  </g>
  <g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
    <text x="24" y="14" textLength="38" lengthAdjust="spacingAndGlyphs">proven</text>
    <text x="73" y="14" textLength="{length}" lengthAdjust="spacingAndGlyphs">{text}</text>
  </g>
</svg>
"""


def draw(root: Path = ROOT) -> str:
    """Return the badge for what the committed ledger says of the proofs and snippets as they are now."""
    of = guide.read(root)
    passed = ledger.Ledger(ledger.load(root / ledger.COMMITTED)).current(of.proofs, of.snippets).passed()
    majors = [summary.series("PostgreSQL", version) for version in summary.versions(passed).get("PostgreSQL", [])]
    parts = [f"{len({run.proof for run in passed})} proofs", f"PostgreSQL {', '.join(dict.fromkeys(majors))}"]
    text = " · ".join([*parts, summary.newest(passed)])
    length = round(len(text) * WIDTH)
    return SVG.format(text=text, length=length, width=length + 79)


def main(root: Path = ROOT) -> None:
    """Write the badge for the committed ledger."""
    whole.write(root / FILE, draw(root))


if __name__ == "__main__":
    main()
