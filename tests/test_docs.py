"""What the program can say is in the guides, in both languages, and the guides speak of nothing else."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import prometheus_client
import pytest

import genway
from genway.errors import GenwayError
from genway.providers.base import ProviderError
from genway.tasks.forced import FAILURES, MOST

ROOT = Path(__file__).parents[1]
GUIDES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BOTH = [ROOT / "docs", ROOT / "docs" / "zh"]


@pytest.fixture(scope="module", autouse=True)
def everything_is_imported() -> None:
    for module in pkgutil.walk_packages(genway.__path__, "genway."):
        if not re.search(r"__main__|migrations|\.local\.", module.name):
            importlib.import_module(module.name)


def classes(base: type) -> set[type]:
    return {base} | {deeper for each in base.__subclasses__() for deeper in classes(each)}


def codes() -> set[str]:
    """Every error code: of the errors' classes, and those that ends of tasks are given."""
    named = {each.code for each in classes(GenwayError) | classes(ProviderError) if each.__module__.startswith("genway.")}
    for path in [*(ROOT / "src/genway/tasks").glob("*.py"), ROOT / "src/genway/gateway.py"]:
        text = path.read_text()
        named |= set(re.findall(r'_end\(\s*State\.\w+,\s*"(\w+)"', text))
        named |= set(re.findall(r'error_code="(\w+)"', text))
    return named


@pytest.mark.parametrize("folder", BOTH, ids=["en", "zh"])
def test_every_error_code_is_explained_and_no_other(folder: Path) -> None:
    text = (folder / "errors.md").read_text()
    explained = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `")))
    )
    assert explained == codes()


@pytest.mark.parametrize("folder", BOTH, ids=["en", "zh"])
def test_every_metric_is_explained_and_no_other(folder: Path) -> None:
    text = (folder / "metrics.md").read_text()
    explained = set(re.findall(r"^\| `(genway_\w+)`", text, re.MULTILINE))
    counted = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in prometheus_client.REGISTRY.collect()
        if family.name.startswith("genway_")
    }
    assert explained == counted


@pytest.mark.parametrize("folder", BOTH, ids=["en", "zh"])
def test_every_forced_outcome_is_explained(folder: Path) -> None:
    text = (folder / "keys.md").read_text()
    for word in [*(f"genway:fail={failure}" for failure in FAILURES), *(f"genway:{name}=" for name in MOST)]:
        assert word in text


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_is_there_in_chinese_too(name: str) -> None:
    english, chinese = (folder / name for folder in BOTH)
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese.read_text())) > 100
    assert re.findall(r"^#+ ", english.read_text(), re.MULTILINE) == re.findall(r"^#+ ", chinese.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_link_between_the_guides_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target
