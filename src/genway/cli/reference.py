"""`genway reference`: prints `docs/cli.md`, what `--help` says of every command. Not listed among the commands."""

from __future__ import annotations

import re

# Started as `python -m genway`, the library takes that for a name of two words and strips only one of them.
STRAY_NAME = re.compile(r"^(genway(?: [a-z-]+)*) -m \S+", re.MULTILINE)


def reference() -> None:
    """Print every command and option, in Markdown."""
    from genway.cli import app  # noqa: PLC0415 - it is what imports this

    print(STRAY_NAME.sub(r"\1", app.generate_docs()).rstrip("\n"))
