"""What compiled programs say, read from their machine code: from the very programs that the proofs run on.

- PostgreSQL: ereport(ERROR, (errcode(…), errmsg("…"))) is compiled into a call with the code, as a number, and one
  with the address of the text. So each text is found with its SQLSTATE, unless the compiler put more between the two.
- PgBouncer: each text that certain functions are called with. The functions' names are gone: each is known by a text
  that it alone is called with.
- Libraries, whose texts pass through many functions: their strings that speak of connections.

A compiler makes one call in several ways, so which versions have a text is looked up in all their strings.
All this is for x86-64, for which every program of the version matrix is available.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from atlas.text import Text, plain

# mov edi, <SQLSTATE>; call errcode; … lea rdi, [rip + <text>]
ERRCODE = re.compile(rb"\xbf(....)\xe8....(?:(?!\xe8).){0,24}?\x48\x8d\x3d(....)", re.DOTALL)
# lea rdx, rcx or rsi, [rip + <text>], and what comes before a call: e8, or a jump: e9.
GIVEN = re.compile(rb"(?=\x48\x8d[\x15\x0d\x35](....)(.{0,60}))", re.DOTALL)
CALLED = re.compile(rb"(?=[\xe8\xe9](....))", re.DOTALL)
STRING = re.compile(rb"\0([\x20-\x7e\n]{6,})(?=\0)")
HELD = re.compile(rb"[\x20-\x7e\t\n]{6,}(?=\0)")
# The SQLSTATEs about connections, logins, limits, and what a session is believed to keep.
CLASSES = re.compile(r"08|28|3D|53|57|25P0[234]|25006|26|34|42P05")
BESIDE = {"cached plan must not change result type", "canceling statement due to conflict with recovery"}
# The functions of PgBouncer that count, each known by a text of its own.
FUNCTIONS = {
    "client_login_timeout": "closes a client",
    "server lifetime over": "closes a server connection",
    "server login failed: invalid server signature": "closes who waits for a login to the server",
    "admin access needed": "refuses a command on the console",
    "pooler error: %s": "logs",
}
# Of its log, the errors and warnings about one connection: mov edi, LG_ERROR or LG_WARNING, and no xor esi, esi, which
# means about none, except in the functions that accept a connection or open one.
WARNS, ABOUT_NONE = re.compile(rb"\xbf[\x01\x02]\0\0\0"), b"\x31\xf6"
MAKES_ONE = re.compile(r"accept\(\) failed|sbuf_connect failed|TLS \w+ error|server login failed|DNS lookup failed")
# Of a library's strings, those that name a connection or a part of it, and are a sentence: no query, name or option.
SPEAKS = re.compile(r"connect|server|ssl|host|password|authent|session|certificate|socket|timeout|lost|cursor", re.I)
SENTENCE = re.compile(r"^(?!.*(?:\bselect\b|\w\(\) (?:->|-- )|[_=:]{2}))[^_=]*[a-z]{2} [a-z%\"].*$", re.I)


def postgres(program: Path) -> Iterator[Text]:
    """Return what a server says under the SQLSTATEs that count."""
    code = program.read_bytes()
    for found in ERRCODE.finditer(code):
        text = _at(code, found.end(), found[2])
        if text and (CLASSES.match(state := _sqlstate(found[1])) or text in BESIDE):
            yield Text("PostgreSQL", plain(text), state)


def pgbouncer(program: Path) -> Iterator[Text]:
    """Return why PgBouncer closes a connection, what its console refuses, and what it warns about."""
    code = program.read_bytes()
    calls: dict[int, dict[str, bool]] = {}  # a function's place, and each text it is called with: is it a warning?
    for found in GIVEN.finditer(code):
        text = _at(code, found.start() + 7, found[1])
        if text and (function := _function(code, found.start(2), found[2])):
            around = code[found.start() - 30 : found.end(2)]
            warns = bool(WARNS.search(around)) and (ABOUT_NONE not in around or bool(MAKES_ONE.search(text)))
            said = calls.setdefault(function, {})
            said[text] = said.get(text, False) or warns
    for known, how in FUNCTIONS.items():
        said = max((texts for texts in calls.values() if known in texts), key=len, default={})
        for text, warns in said.items():
            if warns or how != "logs":
                yield Text("PgBouncer", plain(text), how)


def strings(library: Path, by: str) -> Iterator[Text]:
    """Return which sentences of a library speak of connections."""
    for found in STRING.finditer(library.read_bytes()):
        text = found[1].decode()
        if SPEAKS.search(text) and SENTENCE.search(text) and "\n" not in text.strip():
            yield Text(by, plain(text), "")


def held(program: Path) -> set[str]:
    """Return every string of a program, whatever it is for."""
    return {plain(found[0].decode()) for found in HELD.finditer(program.read_bytes())}


def _sqlstate(packed: bytes) -> str:
    """Return five characters of six bits each, as MAKE_SQLSTATE of elog.h packs them."""
    number = struct.unpack("<I", packed)[0]
    return "".join(chr((number >> 6 * place & 0x3F) + ord("0")) for place in range(5)) if number < 2**30 else ""


def _function(code: bytes, start: int, after: bytes) -> int:
    """Return where the first call after an instruction leads: 0 where none is near."""
    for found in CALLED.finditer(after):
        place = start + found.start() + 5 + struct.unpack("<i", found[1])[0]
        if 0 < place < len(code):
            return place
    return 0


def _at(code: bytes, base: int, offset: bytes) -> str:
    """Return the string at an address that is relative to the next instruction; "" where none stands there."""
    at = base + struct.unpack("<i", offset)[0]
    end = code.find(b"\0", at) if 0 < at < len(code) else -1
    text = code[at:end] if end > at else b""
    return text.decode() if text.isascii() and text.decode().isprintable() and len(text) > 5 else ""
