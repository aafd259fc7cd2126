"""The status page: what a person sees who has port-forwarded 15904 and opens a browser."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from osm_healthcheck.server import status
from osm_healthcheck.server.results import RECENT_RESULTS, TargetResult
from tests.io.apps import app, hold, http_app, response
from tests.io.browser import chromium, tab
from tests.io.sidecar import HEALTHCHECK, Sidecar, http_probe, sidecar, tcp_probe
from tests.io.wire import Answer, closed_port, get

HOSTILE = "<script>document.title='owned'</script>&\"'\u202eabc"
# The contrast that WCAG 2.2 asks of text (1.4.3), and how it is computed.
CONTRAST = 4.5
LOWEST_CONTRAST = """(() => {
  const light = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const back = one => {
    for (; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (color !== 'rgba(0, 0, 0, 0)') return color;
    }
    return 'rgb(255, 255, 255)';
  };
  let lowest = 21;
  for (const one of document.querySelectorAll('h1, h2, p, strong, span, a, code, th, td')) {
    const pair = [light(getComputedStyle(one).color), light(back(one))].sort((a, b) => b - a);
    lowest = Math.min(lowest, (pair[0] + .05) / (pair[1] + .05));
  }
  return lowest;
})()"""


@pytest.fixture(scope="module")
def running() -> Iterator[Sidecar]:
    """A pod in which one probe passes, one is refused, one gets rubbish, one was not asked yet."""
    rubbish = HOSTILE.encode() + b"\r\n\r\n"
    with (
        http_app(*[response()] * (RECENT_RESULTS + 8), response("500 Oh no")) as web,
        http_app(rubbish) as hostile,
        app(hold) as tcp,
        closed_port() as closed,
        sidecar(
            {
                "web": {
                    "livenessProbe": http_probe(web.port, "/healthz"),
                    "startupProbe": http_probe(web.port, "/never-asked"),
                },
                "hostile": {"readinessProbe": http_probe(hostile.port, "/<b>?a=1&b=2")},
                "db": {"livenessProbe": tcp_probe(tcp.port), "readinessProbe": tcp_probe(closed)},
            },
            environ={"POD_IP": "127.9.9.9"},
        ) as it,
    ):
        for _ in range(RECENT_RESULTS + 8):
            assert it.probe("liveness").status == 200
        assert it.probe("readiness").status == 502
        assert it.check(tcp.port).status == 200
        assert it.check(closed).status == 404
        assert it.probe("liveness").status == 500
        yield it


def page(running: Sidecar, method: str = "GET") -> Answer:
    return get(running.address, HEALTHCHECK, "/", method=method)


def test_it_names_each_probe_its_last_result_and_its_reason(running: Sidecar) -> None:
    text = page(running).body.decode()
    cards = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert len(cards) == 5
    for probe, said in (
        ("web/liveness", "status 500"),
        ("web/startup", "not asked yet"),
        ("hostile/readiness", "malformed HTTP response"),
        ("db/liveness", "connected"),
        ("db/readiness", "connection refused"),
    ):
        (card,) = (card for card in cards if probe in card)
        assert said in card
    # of 41 results the last are drawn, and all are counted
    assert f"last {RECENT_RESULTS}: " in text
    assert "since the start: 40 success, 1 failure" in text
    assert '<a href="/metrics">' in text
    (title,) = re.findall("<title>(.*?)</title>", text)
    assert ", pod 127.9.9.9 - " in title


def test_there_is_a_bar_for_each_result_the_latest_at_the_right(running: Sidecar) -> None:
    plots = re.findall(r'viewBox="0 0 (\d+) (\d+)"(.*?)</svg>', page(running).body.decode())
    lengths = []
    for width, height, drawn in plots:
        found = re.findall(r"M([\d.]+) ([\d.]+)h5v-([\d.]+)h-5z", drawn)
        bars = sorted((float(x), float(foot), float(bar)) for x, foot, bar in found)
        assert [x for x, _, _ in bars] == [int(width) - 6 * n for n in range(len(bars), 0, -1)]
        assert {foot for _, foot, _ in bars} == {int(height) - 1}
        assert 1 <= min(bar for *_, bar in bars) <= max(bar for *_, bar in bars) <= 40
        lengths.append((len(bars), len(re.findall(r"M[\d.]+ 0h5v3h-5z", drawn))))
        assert (int(width), int(height)) == (6 * RECENT_RESULTS, 45)
        assert f'd="M0 44h{width}v1h-{width}z"' in drawn  # the line that they stand on
    # how many, and how many of them have the mark of a failure
    assert sorted(lengths) == [(1, 0), (1, 1), (1, 1), (RECENT_RESULTS, 1)]


def test_the_rows_are_the_last_24_results_of_all_targets_the_latest_first(
    running: Sidecar,
) -> None:
    rows = re.findall(r"<tr><td.*?</tr>", page(running).body.decode())
    found = [re.findall(r"<code>(\w+)://:\d+([^<]*)</code></td><td>([^<]*)<", row) for row in rows]
    told = [(scheme, path, reason.rpartition(": ")[2]) for [(scheme, path, reason)] in found]
    assert told[0] == ("http", "/healthz", "status 500")
    assert [one[0] for one in told[1:3]] == ["tcp", "tcp"]
    assert [one[2] for one in told[1:3]] == ["connection refused", "connected"]
    assert told[3][1] == "/&lt;b&gt;?a=1&amp;b=2"
    assert told[4:] == [("http", "/healthz", "status 200")] * 20


def test_a_bar_is_as_high_as_its_result_took_long() -> None:
    recent = [(0.0, TargetResult.SUCCESS, seconds, "") for seconds in (0.003, 0.001, 0.0, 0.0015)]
    heights = [float(bar) for bar in re.findall(r"h5v-([\d.]+)h-5z", status._plot(recent))]
    assert heights == [40, 13.3, 1, 20]  # of 40; the least is 1, or nothing would show


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0012, "1.20"), (0.009994, "9.99"), (0.01, "10"), (0.2504, "250"), (1.5, "1,500")],
)
def test_milliseconds_have_as_many_digits_as_are_worth_reading(seconds: float, text: str) -> None:
    assert status._milliseconds(seconds) == text


def test_what_does_not_show_is_written_as_an_escape() -> None:
    assert status._text("<a> \u202e\x00é") == r"&lt;a&gt; \u202e\x00é"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (3599, "60 min ago"),
        (3600, "1 h ago"),
        (86_400, "1 d ago"),
        (5 * 86_400, "5 d ago"),
    ],
)
def test_how_long_ago_is_told_in_one_unit(seconds: float, text: str) -> None:
    assert status._ago(seconds) == text


def test_no_text_of_an_app_is_anything_but_text(running: Sidecar) -> None:
    answer = page(running)
    text = answer.body.decode()
    assert "&lt;script&gt;document.title" in text
    assert "/&lt;b&gt;?a=1&amp;b=2" in text
    assert "<script" not in text
    assert "\u202e" not in text  # it would turn the text that follows around
    policy = answer.header("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    assert "unsafe" not in policy
    # one style sheet and nothing else can be loaded, from here or anywhere
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["/metrics", "/healthz"]


def test_it_is_read_with_get_and_head(running: Sidecar) -> None:
    head = page(running, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.header("Content-Length") or 0) > 5000
    assert page(running, "POST").status == 405
    assert get(running.address, HEALTHCHECK, "/index.html").status == 404


def test_without_declared_probes_it_says_so() -> None:
    with sidecar() as bare, app(hold) as target:
        bare.check(target.port)
        text = page(bare).body.decode()
    assert "No probes are declared" in text
    assert f"tcp://:{target.port}" in text


def test_a_browser_shows_it(running: Sidecar) -> None:
    chromium()

    async def look() -> None:
        async with tab() as browser:
            await browser.open(f"http://{running.address}:{HEALTHCHECK}/")
            backgrounds = set()
            for width, scheme in ((1280, "light"), (1280, "dark"), (390, "dark"), (320, "light")):
                await browser.show(width, scheme=scheme)
                inner = await browser.value("document.documentElement.scrollWidth")
                assert inner <= width, f"{width} pixels: there are {inner}"
                assert await browser.value(LOWEST_CONTRAST) >= CONTRAST
                backgrounds.add(
                    await browser.value("getComputedStyle(document.body).backgroundColor")
                )
            assert len(backgrounds) == 2
            assert await browser.value("document.title") == (
                "3 failing, 1 passing, 1 not asked yet, pod 127.9.9.9 - osm-healthcheck"
            )
            assert await browser.value("document.scripts.length") == 0
            text = await browser.value("document.body.innerText")
            assert "<script>document.title='owned'</script>&" in text
            plots = "[...document.querySelectorAll('svg')].map(one => one.clientHeight)"
            assert min(await browser.value(plots)) > 20
            assert browser.complaints == []

    asyncio.run(look())
