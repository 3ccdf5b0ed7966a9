"""The picture that a link to a page shows where it is shared: the page's title on the site's paper.

Drawn with what Pillow brings, its typeface included: nothing comes from another host, or from the machine.
"""

from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE = (1200, 630)  # the size that is cropped least where links are shared
MARGIN = 88
SIZES = (84, 72, 60, 48)  # of the title: the first at which it takes three lines or fewer
PAPER, INK, QUIET, PROVEN = "#fdfcf9", "#1d2327", "#565d63", "#0b6b45"


def draw(file: Path, title: str, site: str, promise: str) -> None:
    """Write a card with a page's title, the site's name above and its promise below."""
    card = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(card)
    card.paste(PROVEN, (MARGIN, 88), _check())
    pen.text((MARGIN + 66, 90), site, QUIET, _font(34))
    size = next((size for size in SIZES if len(wrapped(title, size)) <= 3), SIZES[-1])
    lines = "\n".join(wrapped(title, size))
    pen.multiline_text((MARGIN, 340), lines, INK, _font(size), anchor="lm", spacing=size // 4)
    pen.text((MARGIN, SIZE[1] - 92), promise, QUIET, _font(28), anchor="ls")
    pen.rectangle([(0, SIZE[1] - 18), SIZE], PROVEN)
    file.parent.mkdir(parents=True, exist_ok=True)
    card.quantize(32, Image.Quantize.FASTOCTREE).save(file)


def wrapped(title: str, size: int) -> list[str]:
    """Return a title's lines at a size of type."""
    lines: list[str] = []
    for word in title.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(size).getlength(longer) <= SIZE[0] - 2 * MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def _check() -> Image.Image:
    """Return the mark of what is proven: drawn large and scaled down, since Pillow's lines have hard edges."""
    large = Image.new("L", (4 * 48, 4 * 48))
    ImageDraw.Draw(large).line([(12, 96), (68, 160), (180, 16)], fill=255, width=34, joint="curve")
    return large.resize((48, 48), Image.Resampling.LANCZOS)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
