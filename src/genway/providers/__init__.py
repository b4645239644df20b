"""Those who carry out operations, found by looking: every module here, and the entry points `genway.providers`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from genway.providers.base import Provider

ENTRY_POINTS = "genway.providers"


@cache
def discover() -> dict[str, type[Provider]]:
    """Every provider class by name. One in an entry point replaces ours of the same name."""
    found: dict[str, type[Provider]] = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        for value in vars(loaded).values():
            if isinstance(value, type) and issubclass(value, Provider) and hasattr(value, "name"):
                found[value.name] = value
    for entry in entry_points(group=ENTRY_POINTS):
        provider = entry.load()
        found[provider.name] = provider
    return found
