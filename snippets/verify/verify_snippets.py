"""Say which of your copies of snippets are current, outdated or edited.

python verify_snippets.py snippets.json orders/forks.py ops/*.sql
"""

import sys
from hashlib import sha256
from json import loads
from pathlib import Path

manifest, *copies = sys.argv[1:] or sys.exit(__doc__)
nothing = sha256().hexdigest()  # of every empty file: those go by name too
try:
    snippets = loads(Path(manifest).read_bytes())["snippets"]
    states = {old: "outdated" for known in snippets for old in known["earlier"]}
    states |= {known["sha256"]: "current" for known in snippets}
    empty = {Path(s["path"]).name for s in snippets if s["sha256"] == nothing}
except (OSError, ValueError, KeyError, TypeError) as error:
    sys.exit(f"{manifest} is not a manifest: {type(error).__name__}: {error}")
said = set()
for copy in map(Path, copies):
    digest = sha256(copy.read_bytes()).hexdigest() if copy.is_file() else ""
    state = states.get(digest, "edited") if digest else "missing"
    if digest == nothing and copy.name not in empty:
        state = "edited"
    print(f"{state:8}  {copy if str(copy).isprintable() else ascii(str(copy))}")
    said.add(state)
sys.exit(said != {"current"} and "a copy is not current, or you named none")
