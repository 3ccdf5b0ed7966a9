"""Values in files of settings: which there are, and which of them no proof holds."""

from pathlib import Path

import pytest

from proven import guide
from proven.sources import held, settings
from tests.guard.project import make, problems

MODULE, INI = "tests/proofs/test_index.py", "snippets/limits.ini"
LIMITS = "; region: all\n[pgbouncer]\nsize = 20\nwait = 15\n; endregion: all\n"
PROOF = """\
from proven import evidence
from proven.sources.controls import control, each, edit


{}
def test_answer(load):
    evidence.ran(load("answer.py"))
    evidence.ran(load("limits.ini"))
    assert load("limits.ini").text
"""
# A file, and the keys and values in it.
FORMS = {
    "a.ini": (
        "%include b\n[databases]\n; host=no\nup = host=a port=1\n[pgbouncer]\ndir =\nsize = 20\n",
        {
            **{"%include": "b", "databases.up.host": "a", "databases.up.port": "1"},
            **{"pgbouncer.dir": "", "pgbouncer.size": "20"},
        },
    ),
    "a.env": ("# A=0\nA=1\nB=--listen=:1\n", {"A": "1", "B": "--listen=:1"}),
    "odyssey.conf": (
        'workers 2\nlisten {\n    port 6432\n}\nlog "a"\n',
        {"workers": "2", "listen.port": "6432", "log": '"a"'},
    ),
    "a.tf": (
        'resource "a" "b" {\n  on = true\n  flags {\n    name = "x"\n  }\n  flags {\n    name = "y"\n  }\n}\n',
        {"resource a b.on": "true", "resource a b.flags.name": '"x"', "resource a b.flags.name#2": '"y"'},
    ),
    "a.yaml": (
        "# no: 1\na: &b {c: 1}\nd:\n  - name: e\n    f: [2, x]\ng: *b\nh:\nthe.ini: |\n  [i]\n  j = 3\n",
        {"a.c": "1", "d.e.name": "e", "d.e.f.0": "2", "d.e.f.1": "x", "the.ini.i.j": "3"},
    ),
    "two.yaml": ("kind: A\nb: 1\n---\nkind: C\nb: 2\n", {"A.kind": "A", "A.b": "1", "C.kind": "C", "C.b": "2"}),
    "a.json": ('{"a": [{"title": "b", "c": 1.5}]}', {"a.b.title": '"b"', "a.b.c": "1.5"}),
}


@pytest.mark.parametrize("path", FORMS)
def test_each_value_is_found_where_it_stands(path: str) -> None:
    """And where it is replaced there, it alone is another one."""
    text, expected = FORMS[path]
    found = settings.values(path, text)
    assert {value.key: value.text for value in found} == expected
    for value in found:
        changed = text[: value.begin] + settings.other(value.text) + text[value.end :]
        after = [each.text for each in settings.values(path, changed)]
        assert sum(one.text != other for one, other in zip(found, after, strict=True)) == 1


@pytest.mark.parametrize(
    ("text", "other"),
    [
        *(("15", "16"), ("9", "0"), ("true", "false"), ('"off"', '"on"'), ("", "x"), ('"."', '"x."')),
        *(("60s", "60x"), ("/a/x", "/a/y"), ('"a\\n"', '"x\\n"')),
    ],
)
def test_another_value_is_of_the_same_form(text: str, other: str) -> None:
    """The opposite, or the same with another last letter or digit, but for what a backslash is before."""
    assert settings.other(text) == other


@pytest.mark.parametrize(
    ("controls", "free"),
    [
        ('@control(edit("limits.ini", "size = 20", "size = 0"))', ["wait"]),
        ('@control(edit("limits.ini", "size = 20\\nwait = 15", "size = 0\\nwait = 0"))', ["size", "wait"]),
        ('@control(edit("limits.ini", "size = 20\\n", ""), edit("answer.py", "42", "43"))', ["wait"]),
        ('@control(each("limits.ini"))', []),
        ('@control(each("limits.ini", but={"yours to choose": ["*.wait"]}))', []),
        ('@control(edit("answer.py", "42", "43"))', ["size", "wait"]),
    ],
)
def test_a_value_that_no_control_changes_alone_is_named(controls: str, free: list[str], tmp_path: Path) -> None:
    """With its line, unless it is said why it may be any other."""
    now = guide.read(make(tmp_path, {INI: LIMITS, MODULE: PROOF.format(controls)}))
    found = [str(problem) for problem in held.problems(now.snippets, now.proofs.values())]
    said = {"size": (3, 20), "wait": (4, 15)}
    assert [each.partition(", and")[0] for each in found] == [
        f"{INI}:{said[key][0]}: pgbouncer.{key} is {said[key][1]}" for key in free
    ]


def test_a_pattern_that_no_value_meets_is_refused(tmp_path: Path) -> None:
    """With the nearest one."""
    changes = {INI: LIMITS, "docs/case.md": '{{ snippet("limits.ini") }}\n'}
    control = '@control(each("limits.ini", but={"yours": ["pgbouncer.wait_"]}))'
    (found,) = problems(tmp_path, {**changes, MODULE: PROOF.format(control)})
    assert found == (
        f"{MODULE}:5: no value of {INI} is called pgbouncer.wait_; did you mean pgbouncer.wait or pgbouncer.size?"
    )


def test_each_value_of_this_guide_is_held_or_said_to_be_free() -> None:
    """So that query_wait_timeout = 0 passes nowhere as less than Gunicorn's timeout."""
    now = guide.remembered()
    assert [str(problem) for problem in held.problems(now.snippets, now.proofs.values())] == []
