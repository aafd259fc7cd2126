"""What the probes of other pods take while somebody attacks those of one."""

import contextlib
from collections.abc import Sequence

from tests.bench import pods
from tests.bench.environment import Environment
from tests.bench.measurement import (
    Column,
    Figures,
    Measurement,
    Target,
    ratios,
    results,
    rotations,
)
from tests.net.namespaces import Namespace

_CALM = "calm"
_ATTACKS = {
    "connections that are reset at once": "flood",
    "requests, never the same, that are refused": "strangers",
    "1,000 connections with half a head": "stall",
}
_RATE = 100
_TIMES = 3.0


def measure(
    environment: Environment, attacked: Namespace, neighbours: Sequence[Namespace]
) -> Measurement:
    """The neighbours are probed in calm and under each attack in turn, round by round."""
    seconds = 1.0 if environment.quick else 5.0
    rounds: dict[str, list[Figures]] = {name: [] for name in (_CALM, *_ATTACKS)}
    order = rotations(rounds)
    for turn in range(environment.rounds):
        for name in order[turn % len(order)]:
            with contextlib.ExitStack() as stack:
                if name != _CALM:
                    stack.enter_context(pods.attacker(environment, attacked, _ATTACKS[name]))
                pods.ask_at_a_rate(neighbours, _RATE, 1.0)  # the attack has begun by then
                rounds[name].append(pods.ask_at_a_rate(neighbours, _RATE, seconds))
    ratios(rounds, "p99", _CALM, "p99_x")
    shown = results(rounds)
    return Measurement(
        name="attacked",
        title=f"{_RATE} probes a second of {len(neighbours)} pods while one beside them is "
        f"attacked: {environment.rounds} rounds of {seconds:.0f} s each, {environment.python}",
        columns=(
            *pods.RATE_COLUMNS,
            Column("p99_x", "p99 x calm", 2),
            Column("most", "most ms", 1),
        ),
        servers=shown,
        targets=[
            Target.at_most(
                f"{name}: p99 at most {_TIMES:.0f} x that in calm",
                _TIMES,
                shown[name].median["p99_x"],
            )
            for name in _ATTACKS
        ],
        notes=["the attacker is in the pod, and has what others leave it of the core of the load"],
    )
