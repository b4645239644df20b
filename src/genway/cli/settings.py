"""`genway settings`: every setting, from the docstrings of `config.py`."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from genway.cli.output import print_json, say
from genway.cli.place import HERE, Place, shown
from genway.config import PREFIX, SHORT_VARIABLES, Config

SECRET = frozenset({"security.secret_key", "security.bootstrap_key", "storage.options"})
HIDDEN = "(set, not shown)"
DATA = "data: the folder that everything is kept in."

INTRODUCTION = """\
# Settings

Settings come from a TOML file (`--config genway.toml`, or `GENWAY_CONFIG`), then from variables, then from the options
of a command; what comes later wins. A variable is `GENWAY_`, the section and the name: `GENWAY_SERVER_PORT=8700`.
Lists are separated by commas, pairs are `name=value`. A setting that does not exist is an error.

```toml
data = "/srv/genway"

[server]
host = "0.0.0.0"
public_url = "https://gen.example.com"

[tasks]
keep_days = 90
```

`genway settings` shows what counts on this machine.
"""


class Setting(msgspec.Struct, frozen=True):
    """One setting. section: empty for those outside any. about: what it does, allowed values included."""

    section: str
    name: str
    default: Any
    about: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        short = next((v for v, where in SHORT_VARIABLES.items() if ".".join(where) == self.path), None)
        return short or f"{PREFIX}{self.section}_{self.name}".upper()


def every() -> Iterator[Setting]:
    """Every setting there is, section by section."""
    for section in msgspec.structs.fields(Config):
        if not (isinstance(section.type, type) and issubclass(section.type, msgspec.Struct)):
            yield Setting("", section.name, section.default, _abouts(DATA)[section.name])
            continue
        abouts = _abouts(inspect.getdoc(section.type) or "")
        for field in msgspec.structs.fields(section.type):
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            yield Setting(section.name, field.name, default, abouts[field.name])


def settings(
    *,
    markdown: Annotated[bool, Parameter(help="Print the reference of all settings and their defaults, in Markdown.")] = False,
    place: Place = HERE,
) -> None:
    """Show every setting: its name, what it is now, its default and what it does.

    ```sh
    genway settings
    genway settings --config genway.toml
    genway settings --json
    ```
    """
    if markdown:
        return say(reference())
    config = place.settings()
    rows = [(setting, current(config, setting)) for setting in every()]
    if place.json:
        return print_json(
            [
                {
                    "setting": setting.path,
                    "variable": setting.variable,
                    "value": value,
                    "default": setting.default,
                    "about": setting.about,
                }
                for setting, value in rows
            ]
        )
    section = None
    for setting, value in rows:
        if setting.section != section:
            section = setting.section
            say(f"\n[{section}]" if section else "")
        changed = f"   (default {in_toml(setting.default)})" if value != setting.default else ""
        say(f"{setting.name} = {in_toml(value)}{changed}\n    {setting.about}  {setting.variable}")
    return None


def current(config: Config, setting: Setting) -> Any:
    """What the setting is now; of a secret only that it is set."""
    holder = getattr(config, setting.section) if setting.section else config
    value = getattr(holder, setting.name)
    if setting.path in SECRET and value:
        return HIDDEN
    return shown(value) if setting.path == "database.url" and value else value


def reference() -> str:
    """`docs/settings.md`."""
    parts, section = [INTRODUCTION], None
    for setting in every():
        if setting.section != section or section is None:
            section = setting.section
            title = f"`[{section}]`" if section else "Outside any section"
            parts.append(f"\n## {title}\n\n| setting | default | what it does | variable |\n|---|---|---|---|\n")
        about = setting.about.replace("|", "\\|")
        parts.append(f"| `{setting.name}` | `{in_toml(setting.default)}` | {about} | `{setting.variable}` |\n")
    return "".join(parts).rstrip("\n")


def _abouts(documentation: str) -> dict[str, str]:
    """`name: text` on each line; what begins with no name belongs to the line before."""
    abouts: dict[str, str] = {}
    name = ""
    for line in documentation.splitlines():
        if found := re.fullmatch(r"([a-z_]+): (.+)", line.strip()):
            name, abouts[found[1]] = found[1], found[2]
        elif line.strip():
            abouts[name] += f" {line.strip()}"
    return abouts


def in_toml(value: Any) -> str:
    """A value as it stands in `genway.toml`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {in_toml(text)}" for name, text in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
