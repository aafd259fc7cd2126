"""CONTRIBUTING.md's map of the house, and its table of where a rule lives, are true."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted(path.name for path in PROJECT.glob("*.md"))
TEXT = (PROJECT / "CONTRIBUTING.md").read_text()
RULES = re.findall(r"^\|[^|]+\| `([\w./-]+)` \| (`[^|]+`) \|$", TEXT, re.MULTILINE)


def section(title: str) -> str:
    """The text under a heading of the second level."""
    _, found, rest = TEXT.partition(f"\n## {title}\n")
    assert found, title
    return rest.partition("\n## ")[0]


def entries(indent: str) -> dict[str, str]:
    """What the map says of each name that stands at this indentation."""
    block = section("The map").split("```")[1]
    lines = re.sub(r"\n {10,}", " ", block)
    found = re.findall(rf"^{indent}(\S+) +(\S.*)$", lines, re.MULTILINE)
    return {name.rstrip("/"): text for name, text in found}


def listed(text: str) -> list[str]:
    """The names of a list whose remarks stand in parentheses."""
    return sorted(re.sub(r"\([^)]*\)", "", text).split())


def test_the_map_names_every_package() -> None:
    modules = PROJECT / "osm_healthcheck"
    packages = {path.parent.name for path in modules.glob("*/__init__.py")}
    files = {path.stem for path in modules.glob("*.py") if not path.stem.startswith("__")}
    assert entries("  ").keys() == packages | files


@pytest.mark.parametrize("package", sorted(entries("  ").keys() - {"errors"}))
def test_the_map_names_every_module(package: str) -> None:
    files = (PROJECT / "osm_healthcheck" / package).glob("*.py")
    modules = sorted(path.stem for path in files if path.stem != "__init__")
    assert sorted(entries("  ")[package].rpartition(": ")[2].split()) == modules


def test_the_map_names_every_folder_of_tests() -> None:
    folders = (path for path in (PROJECT / "tests").iterdir() if path.is_dir())
    names = sorted(path.name for path in folders if not path.name.startswith("__"))
    assert listed(entries("")["tests"]) == names


def test_the_map_names_every_script_of_ci() -> None:
    assert listed(entries("")[".ci"]) == sorted(path.name for path in (PROJECT / ".ci").iterdir())


@pytest.mark.parametrize(("path", "words"), RULES)
def test_a_rule_lives_where_the_table_says(path: str, words: str) -> None:
    text = (PROJECT / path).read_text()
    for word in re.findall(r"`([^`]+)`", words):
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text), word


def test_the_table_has_the_rules_that_one_asks_for_first() -> None:
    rules = section("Where a rule lives")
    for asked in ("status codes", "table of rewriting", "deadlines", "bypass: iptables"):
        assert f"| {asked}" in rules or f"the {asked}" in rules
    assert len(RULES) == rules.count("\n| ") - 1


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_path_that_a_document_names_exists(document: str) -> None:
    text = (PROJECT / document).read_text()
    named = re.findall(
        r"(?<![\w/.-])(?:osm_healthcheck|tests|iptables|\.ci|\.github)/[\w./-]+", text
    )
    for path in named:
        assert (PROJECT / path.rstrip(".")).exists(), path
