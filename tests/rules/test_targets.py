"""What may be asked for: which paths, which ports, and for how long."""

import json
from typing import Any

import pytest

from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.declaration import read_declaration, read_hooks
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.targets import ANSWER_MARGIN, Routes, Targets, targets_of

LIVENESS = ProbeKind.LIVENESS
PATH = "/osm-liveness-probe"


def targets(document: dict[str, dict[str, Any]]) -> Targets:
    given = (json.dumps(document), "--probes", OwnPorts())
    return targets_of(read_declaration(*given), read_hooks(*given))


def http(port: int = 80, scheme: str = "HTTP", **more: Any) -> dict[str, Any]:
    return {"livenessProbe": {"httpGet": {"port": port, "scheme": scheme}, **more}}


def routes(**containers: dict[str, Any]) -> Routes:
    return targets(containers).routes[LIVENESS]


def paths(found: Routes) -> dict[str, str]:
    return {path: target.declared.container for path, target in found.http.items()}


def test_one_container_has_the_bare_path_and_its_own() -> None:
    found = routes(app=http())
    assert paths(found) == {PATH: "app", f"{PATH}/app": "app"}
    assert found.tls is None


def test_several_have_their_own_and_nobody_the_bare_one() -> None:
    found = routes(**{"app": http(1), "app-2": http(2)})
    assert paths(found) == {f"{PATH}/app": "app", f"{PATH}/app-2": "app-2"}
    assert [target.port for target in found.http.values()] == [1, 2]


def test_one_http_and_one_https_share_a_port() -> None:
    found = routes(plain=http(1), secure=http(2, "HTTPS"))
    assert paths(found) == {PATH: "plain", f"{PATH}/plain": "plain", f"{PATH}/secure": "secure"}
    assert found.tls is not None
    assert found.tls.port == 2


def test_one_https_alone() -> None:
    found = routes(app=http(2, "HTTPS"))
    assert paths(found) == {PATH: "app", f"{PATH}/app": "app"}
    assert found.tls is found.http[PATH]


def test_several_https_cannot_be_told_apart_by_their_bytes() -> None:
    found = routes(a=http(1, "HTTPS"), b=http(2, "HTTPS"))
    assert found.tls is None
    assert paths(found) == {f"{PATH}/a": "a", f"{PATH}/b": "b"}
    assert routes(a=http(1, "HTTPS"), b=http(2, "HTTPS"), c=http(3)).http[PATH].port == 3


def test_only_the_kinds_that_need_a_listener_have_routes() -> None:
    found = targets(
        {"app": {"startupProbe": http()["livenessProbe"], "livenessProbe": {"grpc": {"port": 1}}}}
    )
    assert list(found.routes) == [ProbeKind.STARTUP]
    assert paths(found.routes[ProbeKind.STARTUP]) == {
        "/osm-startup-probe": "app",
        "/osm-startup-probe/app": "app",
    }


def test_kinds_do_not_mix() -> None:
    found = targets({"a": http(1), "b": {"readinessProbe": http(2)["livenessProbe"]}})
    assert paths(found.routes[LIVENESS]) == {PATH: "a", f"{PATH}/a": "a"}
    assert found.routes[ProbeKind.READINESS].http["/osm-readiness-probe"].port == 2


def test_nothing() -> None:
    found = targets({})
    assert (dict(found.checks), dict(found.routes), found.ports) == ({}, {}, frozenset())


def test_checks_are_told_apart_by_port_and_service() -> None:
    found = targets(
        {
            "a": {
                "livenessProbe": {"tcpSocket": {"port": 1}},
                "readinessProbe": {"grpc": {"port": 1}},
                "startupProbe": {"grpc": {"port": 1, "service": "s"}},
            },
            "b": {"livenessProbe": {"tcpSocket": {"port": 2}}},
        }
    )
    assert set(found.checks) == {(1, None), (1, ""), (1, "s"), (2, None)}
    assert found.ports == {1, 2}
    assert [str(target) for target in found.checks.values()] == [
        "tcp://:1",
        "grpc://:1/",
        "grpc://:1/s",
        "tcp://:2",
    ]


def test_a_check_has_the_longest_deadline_of_its_probes() -> None:
    tcp = {"tcpSocket": {"port": 1}}
    found = targets(
        {
            "a": {"livenessProbe": {**tcp, "timeoutSeconds": 3}, "readinessProbe": tcp},
            "b": {"startupProbe": {**tcp, "timeoutSeconds": 2}},
        }
    ).checks[1, None]
    assert found.deadline == 3 - ANSWER_MARGIN
    assert [str(probe) for probe in found.probes] == ["a/liveness", "a/readiness", "b/startup"]


@pytest.mark.parametrize(
    ("more", "seconds"), [({}, 1), ({"timeoutSeconds": 0}, 1), ({"timeoutSeconds": 9}, 9)]
)
def test_an_answer_is_there_before_the_kubelet_gives_up(more: dict[str, Any], seconds: int) -> None:
    target = routes(app=http(**more)).http[PATH]
    assert target.deadline == seconds - ANSWER_MARGIN


def test_an_http_target_says_what_it_asks() -> None:
    probe = {"httpGet": {"port": 8443, "scheme": "HTTPS", "path": "/x?y"}}
    target = routes(app={"livenessProbe": probe}).http[PATH]
    assert str(target) == "https://:8443/x?y"
    assert [str(one) for one in target.probes] == ["app/liveness"]


def test_targets_are_kept_apart_even_where_they_look_alike() -> None:
    found = routes(a=http(1), b=http(1))
    assert len(set(found.http.values())) == 2


def test_hooks_are_served_by_their_paths_and_their_ports_are_the_apps() -> None:
    get = {"httpGet": {"port": 8443, "path": "/x", "scheme": "HTTPS"}}
    found = targets(
        {
            "a": {"lifecycle": {"postStart": get, "preStop": {"httpGet": {"port": 1}}}},
            "b": {"lifecycle": {"preStop": {"httpGet": {"port": 2}}}, **http(3)},
        }
    )
    assert {path: str(target) for path, target in found.hooks.items()} == {
        "/osm-post-start-hook/a": "https://:8443/x",
        "/osm-pre-stop-hook/a": "http://:1/",
        "/osm-pre-stop-hook/b": "http://:2/",
    }
    assert found.ports == {8443, 1, 2, 3}
    assert not found.checks  # a hook is no target for a check
    assert set(found.routes) == {LIVENESS}  # and needs no listener but 15904
