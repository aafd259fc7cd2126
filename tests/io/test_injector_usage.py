"""What the injector's options take, and what is said of the rest."""

from pathlib import Path

import pytest

from osm_healthcheck.cli import injector as injector_command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--certificate", "/nowhere"], "there is no directory '/nowhere'"),
        ([], "--certificate self is for pods: "),
        (["--certificate", ".", "--port", "9091"], "--health-port 9091 is the --port already"),
        (["--certificate", ".", "--mesh", "osm"], "invalid choice: 'osm'"),
        (["--certificate", ".", "--run-as-user", "1337"], "the user of the mesh's proxy"),
        (["--certificate", ".", "--allow-from", "10.0.0.1/8"], "10.0.0.1/8 has host bits set"),
        (["--certificate", ".", "--drain", "-1"], "must be seconds, 0 or more"),
        (["--certificate", ".", "--bind", "here"], "'here' is not an IP address"),
        (["--certificate-name", "a.svc,bücher.svc"], "'bücher.svc' is not a DNS-1123 subdomain"),
        (["--certificate-name", ""], "'' is not a DNS-1123 subdomain"),
        (["--certificate-secret", "a/b"], "--certificate-secret: 'a/b' is not a DNS-1123"),
        (["--webhook-configuration", "A"], "--webhook-configuration: 'A' is not a DNS-1123"),
        (["--certificate-lifetime", "1e12"], "must be seconds, from 10 to 315360000"),
        (["--certificate", ".", "--port", "9" * 5000], "must be a port from 1 to 65535"),
    ],
)
def test_wrong_usage_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        injector_command.read_arguments(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("namespace", "port", "said"),
    [
        (b"x", "0", "KUBERNETES_SERVICE_PORT: must be a port from 1 to 65535: not '0'"),
        (b"x/../y", "443", "namespace: 'x/../y' is not a DNS-1123 subdomain"),
        (b"x.y", "443", "namespace: 'x.y' is not the name of a namespace"),
        (b"\xff", "443", "namespace: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_no_pods_environment_is_said(
    namespace: bytes,
    port: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "namespace").write_bytes(namespace)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    with pytest.raises(SystemExit) as ended:
        injector_command.read_arguments(["--service-account", str(tmp_path)])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_whom_the_sidecar_answers_is_said_for_every_mesh() -> None:
    told = ["--certificate", ".", "--allow-from", "10.0.0.0/8"]
    _, settings = injector_command.read_arguments(told)
    injections = settings.admission.injections.values()
    assert {one.allow_from for one in injections} == {"10.0.0.0/8"}
