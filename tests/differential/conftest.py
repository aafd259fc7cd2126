"""Kubernetes' own prober, built once."""

from pathlib import Path

import pytest

from tests.differential.kubernetes import NoGoError, build


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build(tmp_path_factory.mktemp("go"))
    except NoGoError as error:
        pytest.skip(str(error))
