"""The fonts that readers have in the tests, and no others: what is installed on the machine plays no part.

Two of them stand for all readers: one whose fonts are as wide as the widest that a system comes with, and one whose
fonts are narrower than any. They come in packages, so that they are the same on every machine.
"""

import sysconfig
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from proven import ROOT, whole

Font = Literal["wide", "narrow"]
# For text and for code. Bitstream Vera is what DejaVu grew from: they and Verdana share their widths.
FAMILIES: dict[Font, tuple[str, str]] = {
    "wide": ("Bitstream Vera Sans", "Space Mono"),
    "narrow": ("PT Sans Narrow", "Inconsolata"),
}
FILES = (
    "reportlab/fonts/Vera*.ttf",
    "fontpkg_space_mono/files/*.ttf",
    "fontpkg_pt_sans_narrow/files/*.ttf",
    "fontpkg_inconsolata/files/*.ttf",
)
FOLDER = ROOT / "build" / "fonts"


def files() -> list[Path]:
    """Return the files of all fonts."""
    packages = Path(sysconfig.get_path("purelib"))
    return sorted(file for pattern in FILES for file in packages.glob(pattern))


def environment() -> dict[str, str]:
    """Return the variable by which a browser on Linux finds these fonts alone."""
    lines = [
        *(f"<dir>{escape(str(folder))}</dir>" for folder in sorted({file.parent for file in files()})),
        # Others may lie beside them.
        "<selectfont><rejectfont><glob>*</glob></rejectfont><acceptfont>",
        *(f"<glob>{escape(str(file))}</glob>" for file in files()),
        "</acceptfont></selectfont>",
        f"<cachedir>{escape(str(FOLDER))}</cachedir>",
    ]
    text = "\n".join(['<?xml version="1.0"?>', "<fontconfig>", *lines, "</fontconfig>", ""])
    configuration = FOLDER / "fonts.conf"
    whole.write(configuration, text)
    return {"FONTCONFIG_FILE": str(configuration)}


def families(font: Font) -> dict[str, str]:
    """Return which families a reader has, as Chromium calls the generic ones of CSS."""
    text, code = FAMILIES[font]
    return {"standard": text, "serif": text, "sansSerif": text, "fixed": code}
