"""Puts the names of variables back where an installer wrote their values; an image keeps what is installed."""

import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import quote


def named(text):
    """Return a URL with `${NAME}` in place of the values of the variables that are told on the command line."""
    written = {}
    for name in sys.argv[2:]:
        value = os.environ.get(name, "")
        for form in filter(None, (value, quote(value, safe=""))):
            written.setdefault(form, f"${{{name}}}")
    # All in one pass, the longest first: a short value may be a part of another, or of a name put in its place.
    forms = "|".join(map(re.escape, sorted(written, key=len, reverse=True)))
    return re.sub(forms, lambda found: written[found[0]], text) if forms else text


home = Path(sys.argv[1])
lock = home / "requirements.lock"
lines = [line.partition(" @ ") for line in lock.read_text(encoding="utf-8").splitlines()]
lock.write_text("".join(f"{name}{at}{named(url)}\n" for name, at, url in lines), encoding="utf-8")
for path in home.rglob("*.dist-info/direct_url.json"):
    known = json.loads(path.read_text(encoding="utf-8"))
    known["url"] = named(known["url"])
    path.write_text(json.dumps(known, separators=(",", ":")), encoding="utf-8")
