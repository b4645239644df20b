"""The tables of `docs/matrix.md` and `docs/camera.md`, made from what the program itself declares.

    PYTHONPATH=tests python -m conformance.tables      # writes them into the guides of both languages

In the guides a table stands between `<!-- table: name -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

import msgspec

from conformance.clients import CLIENTS, ENDINGS
from conformance.matrix_stage import UPSTREAMS, Upstream
from genway import providers
from genway.dialects import base
from genway.dialects.kling import fields as kling
from genway.dialects.luma import concepts
from genway.dialects.minimax import camera as hailuo
from genway.dialects.pika import making
from genway.dialects.pika import models as pika
from genway.dialects.runway import pro as runway
from genway.operations import AnyOperation, Camera, Operation, VideoRequest
from genway.providers.base import ChannelSettings, Provider, ProviderError, Submission
from genway.routing.channels import LOCAL

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [folder / name for folder in (DOCS, DOCS / "zh") for name in ("matrix.md", "camera.md")]
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

OPERATIONS: Mapping[str, type[Operation]] = {kind.__name__: kind for kind in get_args(AnyOperation)}
OWN, NAMED = "●", "○"
# The dialects that name any system's model.
ANY_MODEL = ("openai",)
SHOWN = 5
PROMPT = "A boat."
# What these send is what their relatives in the table send.
SAME = {"minimax_compat", "minimax v2", "pika_compat mirror"}


def filled(page: str) -> str:
    """The page with all of its tables as they are now."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]]().strip()}\n\n{match[3]}"

    return PLACE.sub(table, page)


def rows_of(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(words: Iterable[str]) -> str:
    return "<br>".join(f"`{word}`" for word in words)


# What can be asked for, and who can do it.


def operations_of(dialect: str) -> list[str]:
    """The kinds of operations that a dialect's modules build, in the order in which they are declared."""
    package = importlib.import_module(f"genway.dialects.{dialect}")
    built = set()
    for module in pkgutil.iter_modules(package.__path__):
        tree = ast.parse(inspect.getsource(importlib.import_module(f"{package.__name__}.{module.name}")))
        calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        built |= {func.id for func in calls if isinstance(func, ast.Name)}
    return [name for name in OPERATIONS if name in built]


def matrix() -> str:
    """For each dialect: its formats, and which provider can do what they can ask for."""
    kinds = dict(sorted(providers.discover().items(), key=lambda item: (item[0] != LOCAL, item[0])))
    parts = []
    for name, dialect in sorted(base.discover().items()):
        if not dialect.formats:
            continue
        rows = [
            [f"`{OPERATIONS[each].__struct_config__.tag}`", *(_able(name, kind, each) for kind in kinds.values())]
            for each in operations_of(name)
        ]
        formats = ", ".join(f"`{form}`" for form in sorted(dialect.formats))
        parts.append(f"### {name}\n\n{formats}\n\n{rows_of(['', *(f'`{kind}`' for kind in kinds)], rows)}")
    return "\n\n".join(parts)


def _able(dialect: str, kind: type[Provider], operation: str) -> str:
    if not issubclass(OPERATIONS[operation], kind.operations):
        return ""
    own = kind.name == LOCAL or dialect in ANY_MODEL or any(name.startswith(f"{dialect}/") for name in kind.models)
    return OWN if own else NAMED


def played() -> str:
    """What the conformance suite does with each format's client in front of each upstream."""
    names = list(UPSTREAMS)
    rows = [[f"`{form}`", OWN, *(_played(form, name) for name in names)] for form in sorted(CLIENTS)]
    return rows_of(["", f"`{LOCAL}`", *(f"`{name}`" for name in names)], rows)


def _played(form: str, name: str) -> str:
    return OWN if set(CLIENTS[form].seconds) & set(UPSTREAMS[name].seconds) else ""


def endings() -> str:
    """The words in which each format's client is told that there is no video, by why there is none."""
    rows = [[f"`{form}`", *(f"`{client.words[ending]}`" for ending in ENDINGS)] for form, client in sorted(CLIENTS.items())]
    return rows_of(["", *ENDINGS], rows)


def reached() -> str:
    """Which upstream can be told to stop, and which can say what it has of a work whose answer was late or lost."""
    names = list(UPSTREAMS)
    rows = [
        ["cancelled", OWN, *(OWN if UPSTREAMS[name].cancels else "" for name in names)],
        ["outcome_unknown", OWN, *(OWN if UPSTREAMS[name].finds else "" for name in names)],
    ]
    return rows_of(["", f"`{LOCAL}`", *(f"`{name}`" for name in names)], rows)


# How each system says a motion of the camera.

Words = Mapping[str, Camera]


def vocabularies() -> dict[str, Words]:
    """Each system's words, as its dialect reads them."""
    return {
        "Runway `motion_vector`": {
            f"{name}: {value}": runway.MotionVector(**{name: value}).camera()
            for name in runway.MotionVector.__struct_fields__
            for value in (SHOWN, -SHOWN)
        },
        "Kling `camera_control`": {
            **{
                f"{axis}: {value}": kling.CameraControl("simple", kling.Motions(**{axis: value})).camera()
                for axis in kling.AXES
                for value in (SHOWN, -SHOWN)
            },
            **kling.PRESETS,
        },
        "Pika `camera`": {
            f"{field.name}: {word}": pika.camera(
                **{"pan": "", "tilt": "", "rotate": "", "zoom": "", "motion": 1, field.name: word}
            )
            for field in msgspec.structs.fields(making.Moves)
            for word in get_args(get_args(field.type)[0])
        },
        "Hailuo": {f"[{word}]": hailuo.read(f"[{word}]")[1] for word in _hailuo_words()},
        "Luma `concepts`": concepts.MOTIONS,
    }


def _hailuo_words() -> Iterator[str]:
    for word in hailuo.MOVES:
        yield word.capitalize()
        yield from (chinese for chinese, english in hailuo.CHINESE.items() if english == word)


def motions() -> list[tuple[str, Camera]]:
    """Every single motion, with its name in the tables."""
    return [
        (f"`{name}` {sign}", Camera(**{name: value}))
        for name in Camera.__struct_fields__
        for sign, value in (("+", SHOWN), ("−", -SHOWN))
    ]


def said(camera: Camera) -> dict[str, int]:
    """The signs of the motions that are in it."""
    return {name: 1 if value > 0 else -1 for name in Camera.__struct_fields__ if (value := getattr(camera, name))}


def read_as() -> str:
    """Each single motion, with every system's words for it."""
    known = vocabularies()
    rows = [
        [name, *(code(word for word, camera in words.items() if said(camera) == said(motion)) for words in known.values())]
        for name, motion in motions()
    ]
    return rows_of(["", *known], rows)


def compounds() -> str:
    """The words that stand for several motions at once."""
    rows = [
        [f"`{word}`", system.split(" ")[0], ", ".join(f"`{name}` {_signed(getattr(camera, name))}" for name in said(camera))]
        for system, words in vocabularies().items()
        for word, camera in words.items()
        if len(said(camera)) > 1
    ]
    return rows_of(["", "", "`camera`"], rows)


def _signed(value: float) -> str:
    return f"{value:g}".replace("-", "−")


class Sent(Exception):
    """What was about to be sent to a vendor."""

    def __init__(self, body: Any) -> None:
        super().__init__("sent")
        self.body = body


def body_for(upstream: Upstream, camera: Camera) -> Mapping[str, Any] | None:
    """What the provider sends for a video with that motion; None where it refuses."""
    kind = providers.discover()[upstream.provider]

    class Listening(kind):  # type: ignore[valid-type, misc]
        async def call(self, method: str, path: str, body: Any = None, **_: Any) -> NoReturn:
            raise Sent(body)

    settings = ChannelSettings(name="table", base_url="http://vendor", secret=upstream.secret, options=dict(upstream.options))
    provider = Listening(settings, None)
    model = next(name for name, own in kind.models.items() if own == upstream.model)
    operation = VideoRequest(model=model, prompt=PROMPT, seconds=upstream.seconds[0], camera=camera)
    try:
        asyncio.run(provider.submit(Submission("task", "reference", operation, upstream.model, None)))  # type: ignore[arg-type]
    except Sent as sent:
        body: Mapping[str, Any] = sent.body
        return body
    except ProviderError:
        return None
    raise AssertionError(f"{upstream.provider} sent nothing")


def sent_as() -> str:
    """Each single motion, with what each provider sends for it."""
    chosen = {name: each for name, each in UPSTREAMS.items() if name not in SAME}
    still = {name: dict(_leaves(body_for(each, Camera()))) for name, each in chosen.items()}
    by_name: dict[str, list[str]] = defaultdict(list)
    for _, motion in motions():
        for name, upstream in chosen.items():
            body = body_for(upstream, motion)
            by_name[name].append("—" if body is None else code(_differences(still[name], dict(_leaves(body)))))
    rows = [[name, *(by_name[each][index] for each in chosen)] for index, (name, _) in enumerate(motions())]
    return rows_of(["", *(f"`{name}`" for name in chosen)], rows)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a body, under its own name and that of what it is in."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _leaves(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _leaves(member, f"{path}.{index}")
    else:
        yield path, f"{value:g}" if isinstance(value, float) else str(value)


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for path, value in after.items():
        if value != before.get(path) and value != "0":
            name = ".".join([part for part in path.split(".") if not part.isdigit()][-2:])
            yield value.replace(PROMPT, "").strip() if PROMPT in value else f"{name}: {value}"


TABLES: Mapping[str, Callable[[], str]] = {
    "matrix": matrix,
    "played": played,
    "endings": endings,
    "reached": reached,
    "read_as": read_as,
    "compounds": compounds,
    "sent_as": sent_as,
}


def main() -> None:
    for page in PAGES:
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
