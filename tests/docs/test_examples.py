"""What docs/ shows of commands and manifests is what the commands do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from osm_healthcheck import __version__
from osm_healthcheck.injection.record import VERSION
from osm_healthcheck.mesh.annotations import MESHES

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SOURCE = EXAMPLES / "bookstore.yaml"
INJECTED = sorted(EXAMPLES.glob("bookstore.*.yaml"))
# a block of commands that need nothing but this repository
RUNNABLE = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")
    for page in sorted(ROOT.glob("docs/**/*.md"))
    for number, block in enumerate(
        re.findall(r"^<!-- run -->\n```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    )
]


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run commands as a reader at the root of the repository does."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-euc", script],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("block", RUNNABLE)
def test_a_block_of_commands_runs(block: str) -> None:
    done = run(block)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_mesh_has_a_guide_whose_commands_run() -> None:
    guides = {path.stem for path in (ROOT / "docs" / "meshes").glob("*.md")}
    assert guides == set(MESHES)
    assert len(RUNNABLE) >= len(MESHES)


def test_every_mesh_that_is_injected_has_an_example() -> None:
    names = {path.name.split(".")[1] for path in INJECTED}
    assert names == {name for name, mesh in MESHES.items() if not mesh.injector}


@pytest.mark.parametrize("example", INJECTED, ids=lambda path: path.name)
def test_an_example_is_what_inject_writes_and_can_be_taken_back(example: Path) -> None:
    """To write them anew: osm-healthcheck inject --mesh MESH docs/examples/bookstore.yaml."""
    mesh = example.name.split(".")[1]
    expected = example.read_text()
    found = re.search(rf"{re.escape(VERSION)}: '(.+)'", expected)
    assert found
    # a release changes this and nothing else
    expected = expected.replace(f"'{found[1]}'", f"'{__version__}'")
    expected = re.sub(
        rf"(osm-healthcheck(?:-init)?):{re.escape(found[1])}", rf"\1:{__version__}", expected
    )
    assert run(f"osm-healthcheck inject --mesh {mesh} {SOURCE}").stdout == expected
    assert run(f"osm-healthcheck uninject {example}").stdout == SOURCE.read_text()
