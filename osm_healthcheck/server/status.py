"""The status page: what each probe came to, for a person who has port-forwarded 15904.

It is one file, ``status.html``, without scripts: what is written into it is escaped, and nothing
but its own style sheet is allowed to the browser. Loaded when it is first asked for.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from osm_healthcheck import __version__
from osm_healthcheck.probes.targets import Targets
from osm_healthcheck.server.results import (
    GOOD,
    RECENT_RESULTS,
    RecentResult,
    Results,
    Tally,
    TargetResult,
)

SHOWN_RESULTS = 24
_POLICY = (
    "default-src 'none'; style-src 'nonce-{}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_TEMPLATE = Template((Path(__file__).parent / "status.html").read_text(encoding="utf-8"))
_NO_PROBES = (
    '<p class="other">No probes are declared: whoever reaches this port may have any port of this '
    "pod asked.</p>"
)
_BAR, _GAP, _HEIGHT, _MARK = 5, 1, 40, 3
# Less than so many seconds fills no plot: else it would show noise.
_LEAST_SCALE = 0.001
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class _Shown:
    """A target as the page has it."""

    tally: Tally
    probes: str


def render(
    results: Results,
    targets: Targets | None,
    *,
    pod_ip: str,
    connections: int,
    connections_refused: int,
    lines_dropped: int,
) -> tuple[bytes, bytes]:
    """The page's headers, each with its line end, and its body.

    Args:
        results: what became of the probes.
        targets: what is declared; ``None`` where any port may be asked for.
        pod_ip: the pod's address, ``""`` where it is not known.
        connections: those that are open now.
        connections_refused: those that were closed for the limit on connections.
        lines_dropped: log lines that were not written.
    """
    now = time.time()
    shown = _shown(results, targets)
    latest = sorted(
        ((result, one.tally.target) for one in shown for result in one.tally.recent),
        key=lambda pair: pair[0][0],
        reverse=True,
    )
    nonce = os.urandom(16).hex()
    summary = _summary(shown)
    where = f"pod {pod_ip}" if pod_ip else ""
    process = (
        f"version {__version__}",
        f"{connections} connections open",
        f"{connections_refused} refused at the limit",
        f"{lines_dropped} log lines dropped",
    )
    body = _TEMPLATE.substitute(
        nonce=nonce,
        title=_text(", ".join(filter(None, (*(text for _, text in summary), where)))) or "status",
        summary="\n".join(f'<strong class="{kind}">{text}</strong>' for kind, text in summary)
        + f'\n<span class="dim">{_text(where)}</span>',
        notice=_NO_PROBES if targets is None else "",
        cards="\n".join(_card(one, now) for one in shown),
        rows="\n".join(_row(target, result) for result, target in latest[:SHOWN_RESULTS]),
        process="\n".join(f"<span>{text}</span>" for text in process),
        now=_clock(now),
    )
    headers = (
        "Content-Type: text/html; charset=utf-8\r\n"
        f"Content-Security-Policy: {_POLICY.format(nonce)}\r\n"
        "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        "Cache-Control: no-store\r\n"
    )
    return headers.encode(), body.encode()


def _shown(results: Results, targets: Targets | None) -> list[_Shown]:
    if targets is None:
        return [_Shown(tally, "asked by a caller") for tally in results.tallies()]
    return [
        _Shown(results.tally_of(target), ", ".join(map(str, target.probes)))
        for target in targets.all()
    ]


def _summary(shown: Iterable[_Shown]) -> list[tuple[str, str]]:
    """How many targets are in which state, and the class of each text."""
    counts = {"bad": 0, "good": 0, "other": 0, "dim": 0}
    for one in shown:
        counts[_kind(one.tally.recent[-1][1]) if one.tally.recent else "dim"] += 1
    texts = {"bad": "failing", "good": "passing", "other": "passed through", "dim": "not asked yet"}
    return [(kind, f"{count} {texts[kind]}") for kind, count in counts.items() if count]


def _kind(result: TargetResult) -> str:
    if result is TargetResult.PASSED:
        return "other"
    return "good" if result in GOOD else "bad"


def _card(one: _Shown, now: float) -> str:
    tally = one.tally
    name = f'<h2><code>{_text(tally.target)}</code></h2><p class="dim">{_text(one.probes)}</p>'
    if not tally.recent:
        return f'<article>{name}<p class="dim">not asked yet</p></article>'
    when, result, seconds, reason = tally.recent[-1]
    kind = _kind(result)
    of = "" if tally.deadline is None else f" of {_milliseconds(tally.deadline)}"
    counts = ", ".join(f"{count} {result}" for result, count in tally.counts.items())
    return (
        f'<article class="{kind if kind == "bad" else ""}">{name}'
        f'<p><strong class="{kind}">{_text(result)}</strong> {_text(reason)}</p>'
        f'<p class="dim">{_ago(now - when)}, {_clock(when)} UTC; '
        f"{_milliseconds(seconds)}{of} ms</p>"
        f"{_plot(tally.recent)}"
        f'<p class="dim">since the start: {counts}</p></article>'
    )


def _plot(recent: Iterable[RecentResult]) -> str:
    """A bar for each result, the latest at the right. Failures have a mark at the top, too."""
    results = list(recent)
    highest = max(seconds for _, _, seconds, _ in results)
    scale = _HEIGHT / max(highest, _LEAST_SCALE)
    left = (RECENT_RESULTS - len(results)) * (_BAR + _GAP)
    bars = {"good": "", "bad": "", "other": ""}
    for number, (_, result, seconds, _) in enumerate(results):
        kind = _kind(result)
        x, height = left + number * (_BAR + _GAP), max(round(seconds * scale, 1), 1)
        bars[kind] += f"M{x} {_HEIGHT + _MARK + 1}h{_BAR}v-{height}h-{_BAR}z"
        if kind == "bad":
            bars[kind] += f"M{x} 0h{_BAR}v{_MARK}h-{_BAR}z"
    failed = sum(_kind(result) == "bad" for _, result, _, _ in results)
    label = f"last {len(results)}: up to {_milliseconds(highest)} ms, {failed} failed"
    width = RECENT_RESULTS * (_BAR + _GAP)
    paths = "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in bars.items() if path)
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {_HEIGHT + _MARK + 2}" '
        f'preserveAspectRatio="none">{paths}'
        f'<path class="base" d="M0 {_HEIGHT + _MARK + 1}h{width}v1h-{width}z"/></svg>'
        f'<p class="dim">{label}</p>'
    )


def _row(target: str, result: RecentResult) -> str:
    when, what, seconds, reason = result
    return (
        f'<tr><td class="short number">{_clock(when)}</td>'
        f'<td class="short {_kind(what)}">{_text(what)}</td>'
        f'<td class="short number ms">{_milliseconds(seconds)}</td>'
        f"<td><code>{_text(target)}</code></td><td>{_text(reason)}</td></tr>"
    )


def _text(text: str) -> str:
    """``text``, which an app or a caller may have made up, for HTML.

    What does not show, or turns the text around it, is written as an escape.
    """
    if not text.isprintable():
        text = "".join(
            one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
        )
    return escape(text)


def _milliseconds(seconds: float) -> str:
    ms = seconds * 1000
    return f"{ms:.2f}" if ms < 10 else f"{ms:,.0f}"


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(when))


def _ago(seconds: float) -> str:
    seconds = max(seconds, 0)
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds:.0f} s ago"
