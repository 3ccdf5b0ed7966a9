"""Say which of your copies of snippets are current, outdated or edited.

python verify_snippets.py snippets.json deploy/pgbouncer.ini ops/*.sql
"""

import sys
from hashlib import sha256
from json import loads
from pathlib import Path

snippets = loads(Path(sys.argv[1]).read_bytes())["snippets"]
states = {old: "outdated" for known in snippets for old in known["earlier"]}
states |= {known["sha256"]: "current" for known in snippets}
said = set()
for copy in map(Path, sys.argv[2:]):
    digest = copy.is_file() and sha256(copy.read_bytes()).hexdigest()
    state = states.get(digest, "edited" if digest else "missing")
    print(f"{state:8}  {copy}")
    said.add(state)
sys.exit(said != {"current"} and "not every copy is current, or none is named")
