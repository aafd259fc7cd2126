"""What the kernel knows about a process and its sockets, read from /proc."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_TIME_WAIT = "06"


class Memory(NamedTuple):
    """Bytes of a process in memory.

    All that is resident; what no other process has mapped; and what belongs to no file (heap and
    stacks). The second depends on the neighbours: this benchmark, running on the same interpreter,
    shares its libraries with the servers. In a container of its own nearly all of it is private.
    """

    rss: int
    private: int
    anonymous: int


class TimeWait(NamedTuple):
    """Sockets in TIME_WAIT: the server's own (callers) and those it left at the app."""

    server: int
    app: int


def cpu_ns(pid: int) -> int:
    """CPU time of all living threads of a process, in nanoseconds.

    The scheduler's account, where the kernel keeps it; else user and system time in clock ticks.
    """
    try:
        accounts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except FileNotFoundError:
        accounts = []
    if accounts:
        return sum(int(account.split()[0]) for account in accounts)
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(after_name[11]), int(after_name[12])
    return (user + system) * 1_000_000_000 // _TICKS_PER_SECOND


def waited_ns(pid: int) -> int:
    """For how long a process's first thread could have run and had no core, in nanoseconds."""
    path = Path(f"/proc/{pid}/schedstat")
    return int(path.read_text().split()[1]) if path.exists() else 0


def memory(pid: int) -> Memory:
    """Return what a process has in memory now."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        sizes[name] = int(value) * 1024
    private = sizes["Private_Clean:"] + sizes["Private_Dirty:"]
    return Memory(rss=sizes["Rss:"], private=private, anonymous=sizes["Anonymous:"])


def descriptors(pid: int) -> int:
    """How many file descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def time_wait_room() -> int:
    """How many more TIME_WAIT sockets the kernel keeps before it drops new ones at once."""
    most = int(Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").read_text())
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        protocol, *words = line.split()
        if protocol == "TCP:":
            return most - int(words[words.index("tw") + 1])
    return most


def time_wait(*, server: int, app: int) -> TimeWait:
    """Count the TIME_WAIT sockets whose local port is the server's or whose peer is the app's."""
    at_server = at_app = 0
    with Path("/proc/net/tcp").open() as table:
        next(table)
        for line in table:
            _, local, remote, state, *_ = line.split()
            if state == _TIME_WAIT:
                at_server += int(local.rpartition(":")[2], 16) == server
                at_app += int(remote.rpartition(":")[2], 16) == app
    return TimeWait(at_server, at_app)
