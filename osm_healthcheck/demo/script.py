"""The script of the demo: chapters, each with a fault of the app and what the probes report."""

import asyncio
import shutil
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from osm_healthcheck import __version__
from osm_healthcheck.demo.bookstore import MANIFEST, Bookstore, MeshProxy, PageState
from osm_healthcheck.diagnosis.local_sidecar import local_sidecar, loopback_address
from osm_healthcheck.diagnosis.probe_pairs import find_probe_pairs
from osm_healthcheck.injection.containers import Images
from osm_healthcheck.injection.inject import Injection, inject
from osm_healthcheck.injection.pods import SIDECAR
from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.events import Recorded
from osm_healthcheck.kubelet.pod_spec import ContainerSpec, PodSpec, read_pods
from osm_healthcheck.kubelet.prober import Outcome, probe
from osm_healthcheck.kubelet.watch import ScheduledProbe, Watch
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.reports.reports import JSONReport, TextReport, event_message, printable
from osm_healthcheck.wire.dial import Network

# Longer than any probe of the bookstore takes to notice: then the demo has failed.
_PATIENCE_SECONDS = 15.0
_MIN_WIDTH, _MAX_WIDTH = 40, 96


@dataclass(frozen=True, slots=True)
class Chapter:
    """What happens, what the event about it has in it, whose probe it is, and if it is ready."""

    name: str
    text: str
    event: str
    container: str
    kind: ProbeKind = ProbeKind.READINESS
    is_ready: bool = False


CHAPTERS = (
    Chapter(
        "500",
        "The shop's readiness page begins to answer 500.",
        "HTTP probe failed with statuscode: 500",
        "shop",
    ),
    Chapter(
        "hang",
        "The till (HTTPS) takes requests and answers none.",
        'Readiness probe failed: Get "https://',
        "till",
    ),
    Chapter(
        "closed",
        "The stock's process has died: nobody listens on its TCP port any more. The "
        "sidecar answers 404 for that.",
        "HTTP probe failed with statuscode: 404",
        "stock",
    ),
    Chapter(
        "not-serving",
        "The search (gRPC) says NOT_SERVING. The sidecar answers 503 for that.",
        "HTTP probe failed with statuscode: 503",
        "search",
    ),
    Chapter(
        "half",
        "The shop sends half a page and hangs up. That is an error, not a verdict: the kubelet "
        "tries three times, then waits for the next period, and the shop stays ready.",
        "Readiness probe errored and resulted in failure state: unexpected EOF",
        "shop",
        is_ready=True,
    ),
    Chapter(
        "liveness",
        "The shop's liveness page answers 500. After three failures in a row the kubelet restarts "
        "the container; after that it is well again.",
        "Container shop failed liveness probe, will be restarted",
        "shop",
        ProbeKind.LIVENESS,
        is_ready=True,
    ),
)


async def run_script(output: str, seconds: float) -> int:
    """Run it in about ``seconds``; 0 where the probes showed every fault, 1 where not."""
    app_address, mesh_address = loopback_address(), loopback_address()
    network = Network()
    pod = PodAddress(app_address, network=network)
    mesh = PodAddress(mesh_address, network=network)
    (original,) = read_pods([MANIFEST], "the bookstore")
    (tested,) = find_probe_pairs(MANIFEST, None, {})
    injection = Injection(MESHES["none"], Images("osm-healthcheck", "osm-healthcheck"), __version__)
    (injected,) = read_pods([inject(MANIFEST, injection).manifest], "the bookstore")
    async with (
        Bookstore(app_address) as app,
        MeshProxy(mesh_address),
        local_sidecar(tested.declaration, app_address, app_address),
    ):
        presenter = _Presenter(output, seconds / (len(CHAPTERS) + 1))
        script = _Script(app, original, mesh, presenter)
        watch = Watch(_without_sidecar(injected), pod, presenter)
        presenter.report.begin([watch], pod)
        watching = asyncio.create_task(watch.run())
        try:
            return 0 if await script.run(watch) else 1
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await network.lingering.settle()


def _without_sidecar(spec: PodSpec) -> PodSpec:
    """The app's own containers: they are what the demo is about."""
    own = tuple(one for one in spec.containers if one.name != SIDECAR)
    return PodSpec(spec.kind, spec.name, own, spec.restart_policy, spec.grace)


class _Script:
    """Breaks the bookstore, and mends it when the probes have shown that it is broken."""

    def __init__(
        self, app: Bookstore, original: PodSpec, mesh: PodAddress, presenter: "_Presenter"
    ) -> None:
        self._app = app
        self._original = original
        self._mesh = mesh
        self._presenter = presenter

    async def run(self, watch: Watch) -> bool:
        self._presenter.say(
            "beginning",
            "The bookstore has four containers, probed over HTTP, HTTPS, TCP and gRPC. Its "
            "manifest has been injected: the kubelet asks the sidecar on 15901-15904, and the "
            "sidecar asks the app.",
            [await self._without_injection(one.name) for one in self._original.containers],
        )
        passed = await self._until(lambda: self._is_ready(watch))
        for chapter in CHAPTERS:
            if not passed:
                break
            await self._presenter.pause()
            passed = await self._chapter(chapter, watch)
        if passed:
            await self._presenter.pause()
            self._presenter.say("end", "All is well again, and every fault has been reported.", ())
        else:
            self._presenter.say("failed", "The probes did not show it: please report this.", ())
        return passed

    async def _chapter(self, chapter: Chapter, watch: Watch) -> bool:
        without = await self._without_injection(chapter.container, chapter.kind)
        self._presenter.say(chapter.name, chapter.text, [without])
        self._presenter.events.clear()
        self._break_app(chapter.name)
        status = watch.pod.status.containers
        if not await self._until(
            lambda: (
                self._presenter.has_event(chapter.event)
                and status[chapter.container].ready is chapter.is_ready
            )
        ):
            return False
        await self._presenter.pause()
        await self._mend_app(chapter.name)
        return await self._until(lambda: self._is_ready(watch))

    def _break_app(self, name: str) -> None:
        match name:
            case "500":
                self._app.shop = PageState.ERROR
            case "hang":
                self._app.till = PageState.HANG
            case "closed":
                self._app.close_stock()
            case "half":
                self._app.shop = PageState.HALF
            case "not-serving":
                self._app.is_serving = False
            case "liveness":
                self._app.liveness = PageState.ERROR

    async def _mend_app(self, name: str) -> None:
        self._app.recover()
        if name == "closed":
            await self._app.open_stock()

    async def _without_injection(self, name: str, kind: ProbeKind = ProbeKind.READINESS) -> str:
        """What the kubelet reports of the original probe when a mesh's proxy is in its way."""
        container = self._original.container(name)
        only = ContainerSpec(name, {kind: container.probes[kind]}, container.ports)
        outcome = await probe(kind, only, self._mesh)
        if outcome.event is None:
            return f"{name}: {kind.value.capitalize()} probe succeeds, whatever the app does"
        return printable(event_message(container, outcome.event.message))

    def _is_ready(self, watch: Watch) -> bool:
        """Whether all is as before: ready, and nobody about to be restarted."""
        return watch.pod.next_change is None and all(
            status.ready for status in watch.pod.status.containers.values()
        )

    async def _until(self, condition: Callable[[], bool]) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not condition():
                    self._presenter.changes.clear()
                    await self._presenter.changes.wait()
        except TimeoutError:
            return False
        return True


class _Presenter:
    """Shows the watch and, between its events, what is done to the app; see `Observer`."""

    def __init__(self, output: str, pause: float) -> None:
        self.report = _JSONScript() if output == "json" else _TextScript()
        self.changes = asyncio.Event()
        self.events: list[str] = []
        self._half_pause = pause / 2

    def probed(self, watch: Watch, scheduled_probe: ScheduledProbe, outcome: Outcome) -> None:
        """See `Observer`."""
        self.report.probed(watch, scheduled_probe, outcome)

    def happened(self, watch: Watch, recorded: Recorded) -> None:
        """See `Observer`."""
        self.report.happened(watch, recorded)
        self.events.append(recorded.event.message)
        self.changes.set()

    def changed(self, watch: Watch, container: str) -> None:
        """See `Observer`."""
        self.report.changed(watch, container)
        self.changes.set()

    def has_event(self, text: str) -> bool:
        """Whether there was an event with ``text`` since ``events`` was cleared."""
        return any(text in message for message in self.events)

    def say(self, name: str, text: str, without: Sequence[str]) -> None:
        """Tell of a chapter, and what would be reported ``without`` us."""
        self.report.chapter(name, text, without)

    def pause(self) -> Awaitable[None]:
        """Wait, so that a person can read."""
        return asyncio.sleep(self._half_pause)


class _JSONScript(JSONReport):
    def chapter(self, name: str, text: str, without: Sequence[str]) -> None:
        self._object("Chapter", name=name, text=text, withoutInjection=list(without))


class _TextScript(TextReport):
    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def chapter(self, name: str, text: str, without: Sequence[str]) -> None:
        width = min(max(shutil.get_terminal_size().columns, _MIN_WIDTH), _MAX_WIDTH)
        lines = textwrap.wrap(text, width)
        if sys.stdout.isatty():
            lines = [f"\x1b[1m{line}\x1b[0m" for line in lines]
        # a mesh's proxy answers alike, whatever the app does: only what is new is told
        if new := [line for line in without if line not in self._told]:
            self._told.update(new)
            lines.append("A mesh without injection would have had the kubelet report:")
            for line in new:
                lines += textwrap.wrap(line, width, initial_indent="  ", subsequent_indent="    ")
        self.write("\n".join(["", *lines, "", ""]))
