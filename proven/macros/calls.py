"""How a macro is declared, and the calls of all pages, bound to these declarations.

A family declares each of its macros once, for pages, checks and the build:

    def _unknown(guide: Guide, name: str) -> Iterator[str]:
        if name not in guide.proofs:
            yield f"no proof is called {name!r}{nearest(name, guide.proofs)}"

    @macro(wrong=_unknown)
    def badge(at: Place, name: str) -> str:
        return f"![{name}]({at.up}assets/badge.svg)"

Pages pass the arguments after `at`. A macro that returns a Block stands on a line of its own.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

from proven.guide import Guide
from proven.macros.place import Block
from proven.problems import Problem, nearest
from proven.sources import allowed
from proven.sources.pages import NO_LANGUAGE, Call, Page

Render = TypeVar("Render", bound=Callable[..., str | Block])


@dataclass(frozen=True)
class Macro:
    """What a family declares about a macro; see `macro` below."""

    render: Callable[..., str | Block]  # takes the place of the call, then what the page passes
    parameters: inspect.Signature  # of what the page passes
    block: bool
    shows: str
    claims: tuple[str, ...]
    says: tuple[str, ...]
    links: bool
    wrong: Callable[..., Iterable[str]]


@dataclass(frozen=True)
class Bound:
    """A call that fits its macro, with every argument by its name."""

    macro: Macro
    name: str
    given: dict[str, Any]
    line: int

    @property
    def shows(self) -> str:
        """The snippet that the call shows, or the folder of snippets, ending in "/"; "" where it shows none."""
        return str(self.given[self.macro.shows]) if self.macro.shows else ""

    @property
    def claims(self) -> list[str]:
        """The proofs on which the sentence before the call rests."""
        named = (self.given[argument] for argument in self.macro.claims)
        return [str(name) for each in named for name in (each if isinstance(each, tuple) else (each,))]


MACROS: dict[str, Macro] = {}
CHECKS: list[Callable[[Guide], Iterable[Problem]]] = []


def macro(
    *,
    shows: str = "",
    claims: tuple[str, ...] = (),
    says: tuple[str, ...] = (),
    links: bool = False,
    wrong: Callable[..., Iterable[str]] = lambda _, **__: (),
) -> Callable[[Render], Render]:
    """Declare a macro: pages call it by the function's name.

    `shows` is the argument that names a snippet or a folder of them, `claims` are those that name proofs, and `says`
    those that readers see as they are written. `links` says that the macro renders a link. `wrong` takes the guide and
    the arguments of a call by name, and returns what is wrong with the call.
    """

    def declare(render: Render) -> Render:
        whole = inspect.signature(render)
        behind_at = whole.replace(parameters=list(whole.parameters.values())[1:])
        block = whole.return_annotation == Block
        MACROS[render.__name__] = Macro(render, behind_at, block, shows, claims, says, links, wrong)
        return render

    return declare


def check(problems: Callable[[Guide], Iterable[Problem]]) -> Callable[[Guide], Iterable[Problem]]:
    """Declare a check of all calls together, for what no single call shows."""
    CHECKS.append(problems)
    return problems


@lru_cache(maxsize=1)
def every(guide: Guide) -> list[tuple[Page, Bound]]:
    """Return each call that fits its macro, with its page."""
    found = ((page, bind(call)) for page in guide.pages for call in page.calls)
    return [(page, call) for page, call in found if isinstance(call, Bound)]


def named(guide: Guide, *names: str) -> list[tuple[Page, Bound]]:
    """Return the calls of these macros."""
    return [(page, call) for page, call in every(guide) if call.name in names]


def where_shown(guide: Guide, path: str) -> list[tuple[Page, Bound]]:
    """Return the calls that show a snippet, by itself or as part of a folder."""
    folders = [f"{above}/" for above in PurePosixPath(path).parents]
    return [found for name in (path, *folders) for found in _shown(guide).get(name, ())]


@lru_cache(maxsize=1)
def _shown(guide: Guide) -> dict[str, list[tuple[Page, Bound]]]:
    """Return the calls that show each snippet or folder, which they name."""
    found: dict[str, list[tuple[Page, Bound]]] = {}
    for page, call in every(guide):
        if call.shows:
            found.setdefault(call.shows, []).append((page, call))
    return found


def claiming(guide: Guide) -> list[tuple[Page, Bound, str]]:
    """Return each proof that a call names, with the call."""
    return [(page, call, name) for page, call in every(guide) for name in call.claims]


def problems(guide: Guide) -> Iterator[Problem]:
    """Return what is wrong with each call by itself, and with all of them together."""
    for page in guide.pages:
        for call in page.calls:
            bound = bind(call)
            found = [bound] if not isinstance(bound, Bound) else [*_misplaced(call, bound), *_wrong(guide, bound)]
            yield from (Problem(page.path, call.line, message) for message in found)
    for together in CHECKS:
        yield from together(guide)


def _misplaced(call: Call, bound: Bound) -> Iterator[str]:
    """Say why what a call renders would not be read as such where the call stands."""
    if bound.macro.block and not call.alone:
        yield f"{call.name}() gives a block: put the call on a line of its own"
    elif call.within == "code" or (bound.macro.links and call.within):
        yield f"{call.name}() stands in {call.within}, where its Markdown is not read as such: put it behind that"


def _wrong(guide: Guide, bound: Bound) -> Iterator[str]:
    for name in bound.macro.says:
        text = bound.given[name]
        if text is not None and (why := allowed.wrong(text)):
            yield f"{bound.name}() cannot say {name}={text!r}: {why}"
    yield from bound.macro.wrong(guide, **bound.given)


def unanswered(page: Page, where: str) -> Iterator[Problem]:
    """Return a problem for a page that is listed somewhere, can be read, and does not say what it answers."""
    if not page.description and not page.problems:
        message = f"{where} lists this page with its answer: give its front matter a description, one sentence"
        yield Problem(page.path, 1, message)


def bind(call: Call) -> Bound | str:
    """Return a call with its arguments bound to its macro's, or why they do not fit."""
    macro = MACROS.get(call.name)
    if macro is None:
        return f"no macro or variable is called {call.name!r}{nearest(call.name, MACROS)}"
    if call.arguments is None:
        return NO_LANGUAGE
    positional, by_name = call.arguments
    try:
        bound = macro.parameters.bind(*positional, **by_name)
    except TypeError as error:
        known = macro.parameters.parameters
        wrong = [name for name in by_name if name not in known]
        hint = nearest(wrong[0], known) if wrong else ""
        return f"{call.name}() cannot be called so: {error}{hint}"
    for name, value in bound.arguments.items():
        wanted = macro.parameters.parameters[name].annotation
        for each in value if isinstance(value, tuple) else (value,):
            if not _is(each, wanted):
                kind = inspect.formatannotation(wanted)
                return f"{call.name}() cannot be called so: {name} is {each!r}, and has to be of type {kind}"
    bound.apply_defaults()
    return Bound(macro, call.name, bound.arguments, call.line)


def _is(value: Any, wanted: Any) -> bool:
    try:
        return isinstance(value, wanted)
    except TypeError:  # isinstance() cannot check Any or list[str]
        return True
