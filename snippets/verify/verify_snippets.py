"""Say which of your copies of snippets are current, outdated or edited.

python verify_snippets.py snippets.json ops/usage.sql=postgres/usage.sql

First the manifest, a file or a URL. Then what you copied, yours=ours: files,
or folders. Ends with 0 where every copy is current.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen


def state(copy: Path, snippet: dict[str, Any]) -> str:
    if not copy.is_file():
        return "missing"
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    if digest == snippet["sha256"]:
        return "current"
    return "outdated" if digest in snippet["earlier"] else "edited"


def verify(snippets: list[dict[str, Any]], pair: str) -> dict[str, str]:
    yours, _, ours = pair.partition("=")
    states = {}
    for snippet in snippets:
        path = Path(snippet["path"])
        if path.is_relative_to(ours):
            copy = Path(yours, path.relative_to(ours))
            # Of a folder you may have copied a part.
            if copy.is_file() or path == Path(ours):
                states[f"{copy} = {path}"] = state(copy, snippet)
    return states or {pair: "unknown"}


def read(manifest: str) -> list[dict[str, Any]]:
    is_url = manifest.startswith(("https://", "http://"))
    address = manifest if is_url else Path(manifest).absolute().as_uri()
    try:
        with urlopen(address, timeout=30) as answer:
            return json.load(answer)["snippets"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        sys.exit(f"cannot read {manifest}: {error!r}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    snippets = read(sys.argv[1])
    states: dict[str, str] = {}
    for pair in sys.argv[2:]:
        states |= verify(snippets, pair)
    for copy, said in states.items():
        print(f"{said:8}  {copy}")
    sys.exit(set(states.values()) != {"current"})
