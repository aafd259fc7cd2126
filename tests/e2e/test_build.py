"""Where programs are looked for, and that what is there is not built."""

import stat
import subprocess
from pathlib import Path

import pytest

from .build import MissingError, build, program

pytestmark = pytest.mark.e2e


def _write_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_folder_of_envtest_comes_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSM_HEALTHCHECK_E2E_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(MissingError, match=r"python -m tests\.e2e\.build kubectl"):
        program("kubectl")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    for name in ("kubectl", "etcd"):
        assert program(_write_program(tmp_path / "assets" / name).name).parent.name == "assets"
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    build(["kubectl"])
    with pytest.raises(MissingError):
        program("kubelet")


def test_what_is_built_is_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quickest of the modules: it has nothing to fetch."""
    monkeypatch.setenv("OSM_HEALTHCHECK_E2E_CACHE", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    build(["pause"])
    built = program("pause")
    assert built.parent.parent == tmp_path
    assert built.parent.name.startswith("apps-")
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    build(["pause"])
