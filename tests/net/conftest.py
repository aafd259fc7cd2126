from collections.abc import Iterator
from pathlib import Path

import pytest

from .container_runtime import FakeRuntime, fake_runtime
from .init_script import Programs
from .namespaces import Namespace, need, pod_and_node


@pytest.fixture
def wired() -> Iterator[tuple[Namespace, Namespace]]:
    """A pod and its node, with a wire between them."""
    need("iptables-nft-restore", "iptables-legacy-restore", "dash")
    with pod_and_node() as both:
        yield both


@pytest.fixture
def pod(wired: tuple[Namespace, Namespace]) -> Namespace:
    return wired[0]


@pytest.fixture
def node(wired: tuple[Namespace, Namespace]) -> Namespace:
    return wired[1]


ALL_PROGRAMS = ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")


@pytest.fixture
def programs(tmp_path: Path, wired: tuple[Namespace, Namespace]) -> Programs:
    """The machine's iptables programs, for a test to take some away."""
    return Programs(tmp_path, *ALL_PROGRAMS)


@pytest.fixture
def no_raw(programs: Programs) -> str:
    """What to `prepare` for a kernel without table raw.

    The kernel of a test machine has the table and it cannot be taken away, so programs in front
    of iptables-restore refuse it, in the words of the real ones.
    """
    for program in ALL_PROGRAMS:
        programs.fake(
            f"{program}-restore",
            """
            rules=$(cat)
            case $rules in *'*raw'*)
                echo "iptables-restore: unable to initialize table 'raw'" >&2
                exit 1 ;;
            esac
            printf '%s\\n' "$rules" | "$real" "$@"
            """,
        )
    return programs.mount


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[FakeRuntime]:
    """A container runtime that lists what a test tells it to."""
    with fake_runtime(tmp_path / "cri.sock") as running:
        yield running
