"""Charts say in words what they draw, and their axes are readable."""

from xml.etree import ElementTree

from proven.evidence import measurements
from proven.macros import charts
from proven.macros.charts import Bar, Series


def test_a_chart_says_every_number_in_words() -> None:
    """What a reader who sees no picture hears; and it is well-formed, whatever the names hold."""
    drawn = charts.bars({"<TLS>": [Bar("a & b", 12.21, 11.4, 13.1)]}, title="How long?", unit="ms")
    tree = ElementTree.fromstring(drawn)  # noqa: S314 (drawn here)
    title, text = tree[0], tree[1]
    assert (title.text, text.text) == ("How long?", "<TLS>: a & b 12.2 (11.4 to 13.1) ms.")
    assert tree.get("aria-labelledby") == f"{title.get('id')} {text.get('id')}"
    curve = Series("model", [(0.5, 1.0), (0.9, 5.0)])
    measured = Series("measured", [(0.85, 3.0, 2.5, 4.0)], "points")
    drawn = charts.lines([curve, measured], title="Wait", x="load", y="ms")
    said = "ms by load. model: 1 at 0.5, 5 at 0.9. measured: 3 (2.5 to 4) at 0.85."
    assert ElementTree.fromstring(drawn)[1].text == said  # noqa: S314


def test_an_axis_has_round_numbers_that_cover_what_is_drawn() -> None:
    """Also where all values are the same."""
    assert charts.ticks(0.0, 13.1) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert charts.ticks(0.2, 0.9) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.ticks(3.0, 3.0)[0] <= 3.0 <= charts.ticks(3.0, 3.0)[-1]
    assert [measurements.number(value) for value in (0.0, 0.00234, 12.25, 1148.2)] == ["0", "0.00234", "12.2", "1,148"]
    assert measurements.number(-0.25) == "\N{MINUS SIGN}0.25"
