"""The built-in answers as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

from genway.errors import InvalidRequest
from genway.providers.local import echo


def test_every_name_says_that_it_is_local() -> None:
    assert echo.models() == [
        "local-echo",
        "local-embedding",
        "local-image",
        "local-moderation",
        "local-rerank",
        "local-speech",
        "local-transcription",
    ]


@pytest.mark.parametrize("kind", ["realtime", "files", "batches", "transcriptions", "nothing"])
def test_kinds_without_an_answer_are_refused(kind: str) -> None:
    with pytest.raises(InvalidRequest, match=kind):
        echo.answer(kind, b"{}", request_id="r", created=1)
    with pytest.raises(InvalidRequest):
        echo.answer_form("chat", {}, {})


def test_text_is_answered_without_loading_what_makes_pictures_or_sound() -> None:
    program = (
        "import sys; from genway.providers.local import echo;"
        'echo.answer("chat", b\'{"messages":[{"role":"user","content":"x"}]}\', request_id="r", created=1);'
        'echo.answer("embeddings", b\'{"input":"x"}\', request_id="r", created=1);'
        'print([name for name in ("numpy", "av", "cv2", "PIL") if name in sys.modules])'
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_server_starts_without_what_makes_the_answers() -> None:
    program = (
        "import sys, genway.app; from genway import providers; from genway.dialects import base; providers.discover();"
        'base.discover(); print(sorted(name for name in sys.modules if name.startswith("genway.providers.local.echo.")))'
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "['genway.providers.local.echo.answers']"
