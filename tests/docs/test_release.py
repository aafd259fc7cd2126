"""The images of a release are built of what is signed or known by hash, and nothing is pulled."""

import re
from pathlib import Path

import yaml

_ROOT = Path(__file__).parents[2]


def test_the_release_builds_its_images_by_the_script_alone() -> None:
    workflow = yaml.safe_load((_ROOT / ".github/workflows/release.yaml").read_text())
    commands = [step.get("run", "") for step in workflow["jobs"]["images"]["steps"]]
    assert ".ci/images images" in commands
    assert not re.search(r"\b(docker|podman|buildah)\b", "\n".join(commands))


def test_the_script_pulls_nothing_and_takes_no_base_that_nobody_signed() -> None:
    script = (_ROOT / ".ci/images").read_text().replace("\\\n", " ")
    [bases] = re.findall(r"^ *quietly \S+ debootstrap .*$", script, re.MULTILINE)
    assert "--force-check-gpg" in bases
    assert "settings+=(--pull=never)" in script
    builds = re.findall(r"^ *quietly \S+ buildah build .*$", script, re.MULTILINE)
    dockerfile = (_ROOT / "Dockerfile").read_text()
    targets = re.findall(r"^FROM scratch AS (\S+)$", dockerfile, re.MULTILINE)
    assert len(builds) == len(targets)
    assert all('"${settings[@]}"' in one for one in builds)
    # Every base is a stage, nothing, or an argument that the script gives.
    arguments = set(re.findall(r"^ARG (\w+)=", dockerfile, re.MULTILINE))
    assert arguments == set(re.findall(r"--build-arg (\w+)=localhost/", script))
    bases_of = set(re.findall(r"^FROM (\S+) AS", dockerfile, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    assert bases_of <= stages | {"scratch"} | {f"${{{one}}}" for one in arguments}


def test_packages_of_python_are_known_by_hash() -> None:
    dockerfile = (_ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip install .*$", dockerfile, re.MULTILINE)
    assert all(
        "--require-hashes" in one or "--no-deps --no-build-isolation ." in one for one in installs
    )
