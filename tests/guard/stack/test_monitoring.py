"""What the proofs change of a reader's Prometheus: time, and where the exporters are."""

from proven.sources import snippets
from tests.stack.monitoring import faster, retargeted, samples


def test_a_minute_takes_a_second_and_nothing_else_differs() -> None:
    """Durations, and limits in seconds; no other number, no name."""
    rules = """
    - record: limit:wait:seconds
      expr: 30
    - record: limit:slots:ratio
      expr: 0.8
    - alert: Slow
      expr: rate(pg_x1m_total[2m]) > 5
      for: 15s
    """
    expected = rules.replace("expr: 30", "expr: 0.5").replace("[2m]", "[2000ms]").replace("15s", "250ms")
    assert faster(rules) == expected


def test_a_job_without_an_exporter_is_left_out() -> None:
    """The others are scraped where theirs is."""
    text = retargeted(snippets.read("monitoring/prometheus.yml").text, {"postgres": 1234})
    assert text.count("job_name") == 1
    assert "targets: [127.0.0.1:1234]" in text


def test_samples_are_read_with_their_labels() -> None:
    """As Prometheus' text format has them: comments are none, and a label may hold what separates labels."""
    text = '# HELP a b\na 1\nb{x="1,y=2",z="q\\"r"} 2.5e+01\n'
    assert samples(text) == [("a", {}, 1.0), ("b", {"x": "1,y=2", "z": 'q\\"r'}, 25.0)]
