"""inject's options: what they take, what is said of the rest, and what follows from them."""

import json
import os

import pytest
import yaml

from tests.manifests.test_command import GOOD, INJECT, run

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--in-place"], "--in-place needs files"),
        (["--in-place", "-o", "json", "x"], "--in-place keeps the format"),
        (["--run-as-user", "0"], "not root's 0"),
        (["--run-as-user", "9" * 5000], "not root's 0"),
        (["--run-as-user", "1500"], "the user of the mesh's proxy"),
        (["--allow-from", "10.0.0.1/8"], "argument --allow-from: 10.0.0.1/8 has host bits set"),
        (["--allow-from", "10.0.0.0/8,all"], "argument --allow-from: 'all' does not appear"),
        (["--allow-from", ""], "argument --allow-from: '' does not appear"),
        (
            ["--allow-from", "10.0.0.0/8", "--proxy", "node", "--mesh", "istio"],
            "it is an option of osm-healthcheck node",
        ),
        (["--allow-from", "10.0.0.0/8", "--mesh", "osm"], "the mesh's own injector adds"),
        (["--cpu", "0"], "argument --cpu: must be more than 0 and at most 1"),
        (["--cpu", "10"], "argument --cpu: must be more than 0 and at most 1"),
        (["--memory", "64MB"], "argument --memory: must be a quantity, such as 10m or 64Mi"),
        (["--memory", "64"], "argument --memory: must be at least 40Mi"),
        (["--mesh", "nomesh"], "invalid choice: 'nomesh'"),
        (["--image", ""], "not the name of an image"),
        (["--init-image", "a b"], 'argument --init-image: not the name of an image: "a b"'),
        (["--imag", "x"], "unrecognized arguments"),
    ],
)
def test_usage(arguments: list[str], message: str) -> None:
    done = run(*INJECT, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("10.0.0.0/8, fd00::/8", "10.0.0.0/8,fd00::/8"),
        ("fd00::", "fd00::"),  # in YAML a key, without quotes
    ],
)
def test_whom_the_sidecar_answers_is_written_as_the_sidecar_reads_it(given: str, told: str) -> None:
    done = run(*INJECT, "--allow-from", given, text=GOOD)
    assert (done.returncode, done.stderr) == (0, 'pod "good" injected: 1 probe\n')
    env = yaml.safe_load(done.stdout)["spec"]["initContainers"][1]["env"]
    told_by_name = {one["name"]: one.get("value") for one in env}
    assert told_by_name["OSM_HEALTHCHECK_ALLOW_FROM"] == told
    assert run("uninject", text=done.stdout).stdout == GOOD


def test_the_meshs_proxy_is_not_told_whom_to_answer_and_that_is_said() -> None:
    done = run(*INJECT, "--allow-from", "10.0.0.0/8", "--proxy", "mesh", text=GOOD)
    assert done.returncode == 0
    assert "on 15901-15903 the mesh's proxy answers everyone" in done.stderr


@pytest.mark.parametrize(
    ("given", "image", "init_image"),
    [
        ("a/b", "a/b:2.0.0", "a/b-init:2.0.0"),
        *[
            (
                f"registry.example:5000/b{tag}",
                f"registry.example:5000/b{tag or ':2.0.0'}",
                f"registry.example:5000/b-init{tag or ':2.0.0'}",
            )
            for tag in ("", ":7")
        ],
        (f"b@{DIGEST}", f"b@{DIGEST}", ""),
    ],
)
def test_the_images_follow_from_one(given: str, image: str, init_image: str) -> None:
    by_option = run(*INJECT, "--image", given, "-o", "json", text=GOOD)
    variable = {**os.environ, "OSM_HEALTHCHECK_IMAGE": given}
    by_variable = run(*INJECT, "-o", "json", text=GOOD, env=variable)
    assert by_option.stdout == by_variable.stdout
    if not init_image:
        assert (by_option.returncode, by_option.stdout) == (2, "")
        assert "name that with --init-image" in by_option.stderr
        init_image = f"c@{DIGEST}"
        by_option = run(*INJECT, "--init-image", init_image, "-o", "json", text=GOOD, env=variable)
    init, sidecar = json.loads(by_option.stdout)["spec"]["initContainers"]
    assert (sidecar["image"], init["image"]) == (image, init_image)
