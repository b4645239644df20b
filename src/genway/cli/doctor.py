"""`genway doctor`: is everything here as it must be, and if not, what to do."""

from __future__ import annotations

import asyncio
from typing import Any

from genway.cli.output import print_json, say
from genway.cli.place import HERE, Place
from genway.config import ConfigError

SIGNS = {"ok": "✓", "warning": "!", "wrong": "✗"}


def doctor(*, place: Place = HERE) -> int:
    """Check settings, disk, clock, secrets, database, ledger, channels, calls, object store, renderer, and what got stuck.

    It changes nothing and costs nothing, and may be run while a server runs. The exit code is 1 if anything is wrong;
    a warning (!) is for you to know and leaves it at 0.

    ```sh
    genway doctor
    genway doctor --data /srv/genway
    genway doctor --json
    ```
    """
    from genway.cli.examination import Machine, examine  # noqa: PLC0415 - help needs no database
    from genway.cli.findings import Finding  # noqa: PLC0415

    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if not place.json:
            say(f"{SIGNS[finding.state]} {finding.check}: {finding.message}")
            if finding.advice and finding.state != "ok":
                say(f"    {finding.advice}")

    async def look() -> None:
        async for finding in examine(place.settings(), Machine()):
            found(finding)

    try:
        asyncio.run(look())
    except ConfigError as error:
        found(Finding("settings", "wrong", str(error), "Correct the setting; `genway settings` shows all there are."))
    wrong = [finding.check for finding in findings if finding.state == "wrong"]
    if place.json:
        print_json([_view(finding) for finding in findings])
    else:
        say(f"\n{len(wrong)} wrong: {', '.join(dict.fromkeys(wrong))}" if wrong else "\nAll is well.")
    return 1 if wrong else 0


def _view(finding: Any) -> dict[str, Any]:
    return {
        "check": finding.check,
        "state": finding.state,
        "message": finding.message,
        "advice": finding.advice if finding.state != "ok" else "",
    }
