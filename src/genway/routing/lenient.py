"""What a lenient client would rather do without than be refused."""

from __future__ import annotations

import msgspec

from genway.operations import AnyOperation
from genway.providers.base import Provider

DROPPABLE = (
    "camera",
    "style",
    "seed",
    "guidance",
    "quality",
    "loop",
    "audio",
    "negative_prompt",
    "references",
    "sequence",
    "last_frame",
)


def lighten(
    provider: Provider, operation: AnyOperation, *, lenient: bool = True
) -> tuple[AnyOperation, tuple[str, ...]] | None:
    """The operation without what this provider cannot do, and a warning for each thing left out; None if that is not enough.

    What the format assumed goes first, without a warning. The rest goes for lenient clients alone, and as little of it as
    possible: what turns out not to have been in the way comes back.
    """
    defaults = {field.name: field.default for field in msgspec.structs.fields(operation)}
    light = msgspec.structs.replace(operation, **{name: defaults[name] for name in operation.assumed})
    if provider.refusal(light) is None:
        return light, ()
    if not lenient:
        return None
    wished = light
    dropped: list[str] = []
    for name in DROPPABLE:
        if provider.refusal(light) is None:
            break
        if name in defaults and getattr(light, name) != defaults[name]:
            light = msgspec.structs.replace(light, **{name: defaults[name]})
            dropped.append(name)
    if provider.refusal(light) is not None:
        return None
    for name in list(dropped):
        fuller = msgspec.structs.replace(light, **{name: getattr(wished, name)})
        if provider.refusal(fuller) is None:
            light = fuller
            dropped.remove(name)
    return light, tuple(f"{name} was left out: {provider.name} cannot do it for this model" for name in dropped)
