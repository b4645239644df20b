from __future__ import annotations

import subprocess
import sys

import pytest

from genway.relay import tokenizer


@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        ("", "gpt-5.5", 0),
        ("hello world", "gpt-5.5", 2),
        ("你好，世界", "gpt-5.5", 3),
        ("你好，世界", "gpt-4", 6),
        ("你好，世界", "openai/gpt-4-0613", 6),
        ("你好，世界", "gpt-3.5-turbo", 6),
        ("你好，世界", "gpt-4o", 3),
        ("你好，世界", "gpt-4.1-mini", 3),
        ("你好，世界", "anthropic/claude-opus-5-5", 3),
        ("<|endoftext|>", "", 7),
        ("\ud800", "", 1),
    ],
)
def test_a_text_is_counted_with_the_tokenizer_of_its_model(text: str, model: str, expected: int) -> None:
    assert tokenizer.count(text, model) == expected


def test_a_text_of_millions_of_characters_is_counted() -> None:
    assert tokenizer.count("a word and " * 200_000) == pytest.approx(600_000, rel=0.01)


@pytest.mark.parametrize("first", ["import bpe_openai", "from genway.relay import tokenizer; tokenizer.count('x')"])
def test_the_vocabularies_are_loaded_when_they_are_needed_and_the_package_is_still_there_for_others(first: str) -> None:
    program = f"""
import sys
from genway.relay import estimate
assert not [name for name in sys.modules if name.startswith("bpe_openai")]
{first}
from genway.relay import tokenizer
import bpe_openai
print(tokenizer.count("hello world"), len(bpe_openai.get_encoding("o200k_base").encode("hello world")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("2 2\n", "")
