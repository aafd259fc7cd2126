"""The documentation: links lead somewhere, options and limits are those of the code."""

import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from osm_healthcheck import __version__
from osm_healthcheck.cli.commands import COMMANDS
from osm_healthcheck.injection import record
from osm_healthcheck.injection.record import PREFIX
from osm_healthcheck.probes.constants import DECLARED_PROBES
from osm_healthcheck.server.options import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
MAX_README_WORDS = 1200
# options of other programs that the docs tell a reader to run
_OTHERS = {
    "--previous": "kubectl",
    "--ignore-not-found": "kubectl",
    "--all-containers": "kubectl",
    "--noflush": "iptables-restore",
    "--notrack": "iptables",
    "--build-arg": "docker",
    "--format": "buildah",
    "--target": "docker",
}
# argparse adds it to every command, and no table needs to say so
_EVERYWHERE = {"--help"}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


def links(page: Path) -> list[str]:
    """The targets of a page's links, code left out."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def options_in(text: str) -> set[str]:
    """The options named in a text."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))


def section(page: str, heading: str) -> str:
    """What stands under a heading of a page, up to the next one of the same depth."""
    text = (ROOT / "docs" / page).read_text()
    found = re.search(
        rf"^(#+) {re.escape(heading)}$(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/{page} has no heading {heading!r}"
    return found[2]


@functools.cache
def help_of(command: str) -> str:
    """What a command says of itself."""
    return subprocess.run(
        [sys.executable, "-m", "osm_healthcheck", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MAX_README_WORDS


def test_the_readme_links_every_page_of_the_docs() -> None:
    linked = set(links(ROOT / "README.md"))
    assert {str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")} <= linked


def test_the_readme_names_every_command() -> None:
    table = re.findall(r"^\| (.*?) \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`([\w-]+)[ `]", cell)}
    assert set(COMMANDS) <= named


def test_the_images_that_are_built_are_those_that_inject_names() -> None:
    for page in PAGES:
        for tag in re.findall(r"docker build -t (\S+)", page.read_text()):
            assert tag.endswith(f":{__version__}"), page
    assert f"docker build -t osm-healthcheck:{__version__} " in (ROOT / "README.md").read_text()


def test_the_sidecars_options_are_the_documented_ones() -> None:
    documented = options_in(section("sidecar.md", "Options")) - {"--version"} - _EVERYWHERE
    assert documented == {option.flag for option in OPTIONS}


def test_the_limits_of_the_docs_are_those_of_the_code() -> None:
    """A name without a module is that of each module that has it, where no other row is for it."""
    units = {"": 1, "s": 1, "KiB": 1024, "MiB": 1024**2}
    rows = re.findall(
        r"^\| (`.+?) \| ([\d ,KMiBs]+) \|", section("sidecar.md", "Limits"), re.MULTILINE
    )
    documented: dict[tuple[str, str], float] = {}
    for names, values in rows:
        of_file = re.search(r" of `wire/(\w+)\.py`", names)
        known = re.findall(r"`(?:(\w+)\.)?([A-Z_]+)`", names)
        numbers = re.findall(r"(\d[\d,]*?)(?: (KiB|MiB|s))?(?:, |$)", values)
        assert len(known) == len(numbers), names
        unit = numbers[-1][1]
        for (module, name), (number, own) in zip(known, numbers, strict=True):
            value = int(number.replace(",", "")) * units[own or unit]
            documented[of_file[1] if of_file else module, name] = value
    found: dict[tuple[str, str], float] = {}
    for path in ROOT.glob("osm_healthcheck/*/*.py"):
        if path.parent.name in ("server", "wire", "probes"):
            module = importlib.import_module(f"osm_healthcheck.{path.parent.name}.{path.stem}")
            for name in re.findall(r"^([A-Z_]+)(?:, [A-Z_]+)* = ", path.read_text(), re.MULTILINE):
                key = (path.stem, name) if (path.stem, name) in documented else ("", name)
                if key in documented:
                    assert getattr(module, name) == documented[key], f"{path}: {name}"
                    found[key] = documented[key]
    assert found == documented


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"serve"}))
def test_every_option_of_a_command_is_documented(command: str) -> None:
    help_text = help_of(command)
    usage = help_text[: help_text.find("\n\n")]
    pages = "".join(page.read_text() for page in PAGES)
    assert options_in(usage) - _EVERYWHERE - options_in(pages) == set()


def test_the_annotations_of_the_reference_are_those_of_the_code() -> None:
    names = {value.removeprefix(PREFIX) for value in vars(record).values() if _is_ours(value)}
    names.add(DECLARED_PROBES.removeprefix(PREFIX))
    table = section("reference.md", "Annotations and labels")
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == names


def _is_ours(value: object) -> bool:
    return isinstance(value, str) and value.startswith(PREFIX) and value != PREFIX


def test_every_option_that_the_docs_name_exists() -> None:
    known = {option.flag for option in OPTIONS} | _EVERYWHERE | {"--version"}
    for command in sorted(set(COMMANDS) - {"serve"}):
        known |= options_in(help_of(command))
    known |= options_in((ROOT / "iptables" / "init.sh").read_text()) | _OTHERS.keys()
    unknown = [
        f"{page.relative_to(ROOT)}: {option}"
        for page in ROOT.glob("docs/**/*.md")
        if page.name != "figures.md"  # of benches
        for line in own_lines(page)
        for option in sorted(options_in(line) - known)
    ]
    assert unknown == []


def own_lines(page: Path) -> list[str]:
    """The lines of a page that run no other program than ours."""
    text = page.read_text().replace("\\\n", " ")
    return [
        line
        for line in text.splitlines()
        if not re.match(r"\s*(?:docker|helm|\.ci/|sudo|python|\.venv|kind) ?", line)
    ]


def test_the_metrics_of_the_docs_are_exported_and_the_other_way_round() -> None:
    code = "".join(path.read_text() for path in (ROOT / "osm_healthcheck").rglob("*metrics.py"))
    written = set(re.findall(r'"osm_healthcheck_(\w+_\w+)"', code))
    written |= set(re.findall(r'f"\{_?[pP](?:REFIX|refix)\}_(\w+)"', code))
    written |= {name.removesuffix("_total") for name in re.findall(r'_family\(\s*"(\w+)"', code)}
    text = "".join(page.read_text() for page in PAGES if page.name != "CHANGELOG.md")
    tables = section("metrics.md", "What is exported") + section("sidecar.md", "Logs and metrics")
    rows = set(re.findall(r"^\| `osm_healthcheck_(\w+)` \|", tables, re.MULTILINE))
    for name in rows:
        base = re.sub(r"^(?:injector|node)_|_total$", "", name)
        assert base in code, name
    short = {re.sub(r"^(?:injector|node)_|_total$", "", name) for name in rows}
    assert {re.sub(r"^(?:injector|node)_", "", name) for name in written} <= short
    mentioned = set(re.findall(r"osm_healthcheck_(\w+?)(?:_bucket)?\b", text))
    assert mentioned - rows - {"probe_duration_seconds_bucket"} == set()


def test_the_alerts_of_the_docs_are_those_of_the_rules() -> None:
    rules = (ROOT / "charts/osm-healthcheck/files/alerts.yaml").read_text()
    table = section("metrics.md", "Alert rules")
    documented = re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE)
    assert documented == re.findall(r"alert: (\w+)\n.*?severity: (\w+)", rules, re.DOTALL)
