"""A host of static files on a loopback port: as GitHub Pages serves them, and with every byte counted."""

import gzip
import mimetypes
import re
import threading
import time
from collections.abc import Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# How long a script takes, in seconds: longer than the first paint does, as on most networks. What a script moves, moves
# before the reader's eyes.
SCRIPT = 0.15
COMPRESSED = re.compile(r"text/|.*(?:javascript|json|xml)")


class Server(ThreadingHTTPServer):
    """Serves a folder until it is closed: `sent` lists what went out, each with its bytes, head included.

    A site that is to be published below a path is served below it. `beside` are files that are no part of the site.
    """

    daemon_threads = True

    def __init__(self, folder: Path, beside: Mapping[str, Path] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.beside = beside or {}
        self.base = base(folder)
        self.address = f"http://127.0.0.1:{self.server_port}{self.base}"
        self.sent: list[tuple[str, int]] = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that hangs up: it closes a page with requests under way."""


class Handler(BaseHTTPRequestHandler):
    """Answers one browser."""

    protocol_version = "HTTP/1.1"
    server: Any  # a Server, which the class above it does not know

    def do_GET(self) -> None:
        """Send a file, a folder's index, the way to it, or the site's page for what is not there."""
        path = unquote(urlsplit(self.path).path)
        file = self.server.beside.get(path.removeprefix(self.server.base), leads_to(self.path, self.server.folder))
        if file.is_dir():
            return self._send("301 Moved Permanently", b"", "text/html", f"Location: {path}/\r\n")
        status = "200 OK" if file.is_file() else "404 Not Found"
        if status != "200 OK":
            file = self.server.folder / "404.html"
        if path.endswith(".js") and "/workers/" not in path:
            time.sleep(SCRIPT)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        if COMPRESSED.match(kind) and "gzip" in self.headers.get("Accept-Encoding", ""):
            return self._send(status, compressed(file), kind, "Content-Encoding: gzip\r\n")
        return self._send(status, file.read_bytes(), kind)

    def _send(self, status: str, body: bytes, kind: str, more: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}"
        answer = f"{head}Cache-Control: max-age=600\r\n\r\n".encode() + body
        self.server.sent.append((self.path, len(answer)))
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (so it is called there)
        """Say nothing."""


def leads_to(path: str, folder: Path) -> Path:
    """Return the file of a site that a path leads to, or where it would be; a folder without the last slash."""
    path = unquote(urlsplit(path).path)
    name = path.removeprefix(base(folder)) if path.startswith(base(folder)) else "nowhere"
    return folder / name / "index.html" if path.endswith("/") else folder / name


@cache
def compressed(file: Path) -> bytes:
    """Return a file's content as it travels."""
    return gzip.compress(file.read_bytes(), compresslevel=6, mtime=0)


@cache
def base(folder: Path) -> str:
    """Return the path below which a built site is to be published: its home page says."""
    home = (folder / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<link rel="?canonical"? href="?([^">]+)', home)
    return urlsplit(found[1]).path if found else "/"
