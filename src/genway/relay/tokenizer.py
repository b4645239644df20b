"""How many tokens a text is.

Counted with OpenAI's own tokenizers: `cl100k_base` for the models that had it, `o200k_base` for all others. Models of other
vendors, which do not publish theirs, are counted with `o200k_base` too, as the nearest there is: expect 10 to 30 % off, most
with languages other than English.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from threading import Lock
from typing import Any, Final, Protocol

OLDER: Final = (
    "gpt-3.5*",
    "gpt-35*",
    "gpt-4",
    "gpt-4-*",
    "text-embedding-*",
    "text-moderation-*",
    "davinci-002",
    "babbage-002",
)
"""Models of `cl100k_base`."""


BINDINGS: Final = "bpe_openai._bindings"

_making = Lock()


class Tokenizer(Protocol):
    def count(self, text: str) -> int: ...


def tokenizer(name: str) -> Tokenizer:
    """`o200k_base` or `cl100k_base`. The first takes about 0.1 s and 60 MB, and none is made before it is needed."""
    with _making:
        return _tokenizer(name)


@cache
def _tokenizer(name: str) -> Tokenizer:
    made: Tokenizer = _bindings().tokenizer_for_encoding(name)
    return made


def _bindings() -> Any:
    # Importing the package unpacks every vocabulary in Python, which takes half a second and serves only what is not used
    # here; its compiled module has its own.
    package = find_spec("bpe_openai")
    places = package.submodule_search_locations if package is not None else None
    spec = PathFinder.find_spec(BINDINGS, places) if places is not None else None
    if BINDINGS in sys.modules or spec is None or spec.loader is None:
        return import_module(BINDINGS)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[BINDINGS] = module
    return module


def count(text: str, model: str = "") -> int:
    """How many tokens a text is to a model, `gpt-5.5` or `openai/gpt-5.5`."""
    if not text:
        return 0
    bare = model.rpartition("/")[2]
    name = "cl100k_base" if any(fnmatchcase(bare, pattern) for pattern in OLDER) else "o200k_base"
    try:
        return tokenizer(name).count(text)
    except UnicodeEncodeError:
        return tokenizer(name).count(text.encode("utf-8", "replace").decode())
