"""What ``inject`` and ``uninject`` say on stderr of each resource, and of all."""

from osm_healthcheck.cli.files import ManifestReader
from osm_healthcheck.cli.sources import source_name
from osm_healthcheck.injection.pods import InjectedPod, ManifestChange


class InjectReport:
    """One line a resource, and a summary of several.

    What is skipped is said at once, what was injected when it has been written: as long as one
    document may turn out wrong, nothing has been injected.

    ``names_files`` puts the file in front of each line; ``only_skipped`` leaves out what has been
    injected; ``is_diff`` says that nothing is written.
    """

    def __init__(self, *, names_files: bool, only_skipped: bool, is_diff: bool) -> None:
        self._names_files = names_files
        self._only_skipped = only_skipped
        self._done = "would be injected" if is_diff else "injected"
        self._counts: dict[str, int] = {}
        self._lines: list[str] = []

    def __call__(
        self, reader: ManifestReader, path: str, outcome: ManifestChange, has_changed: bool
    ) -> None:
        """Say what became of the resources in one document of the file at ``path``."""
        prefix = f"{source_name(path)}: " if self._names_files else ""
        skipped = [one for one in outcome.warnings if one.is_skip]
        for pod in outcome.injected:
            done = self._done if has_changed else "unchanged"
            self._count(done)
            if not self._only_skipped:
                self._lines.append(f"{prefix}{_resource(pod.where)} {done}: {_rewritten(pod)}")
        for one in skipped:
            self._count("skipped")
            reader.say(f"{prefix}{_resource(one.where)} skipped: {one.text.partition(': ')[2]}")
        if not outcome.injected and not skipped:
            self._count("without a pod")

    def finish(self, reader: ManifestReader) -> None:
        """Everything is written: say so, and sum up where there was more than one resource."""
        for line in self._lines:
            reader.say(line)
        if sum(self._counts.values()) > 1 and not self._only_skipped:
            counted = ", ".join(f"{count} {what}" for what, count in self._counts.items())
            reader.say(f"osm-healthcheck inject: {counted}")

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1


class UninjectReport:
    """One line a resource that is given back; or that there is none.

    ``names_files`` puts the file in front of each line; ``is_diff`` says that nothing is written.
    """

    def __init__(self, *, names_files: bool, is_diff: bool) -> None:
        self._names_files = names_files
        self._done = "would be given back" if is_diff else "given back"
        self._lines: list[str] = []

    def __call__(
        self, reader: ManifestReader, path: str, outcome: ManifestChange, has_changed: bool
    ) -> None:
        """Keep what became of the resources in one document of the file at ``path``."""
        prefix = f"{source_name(path)}: " if self._names_files else ""
        self._lines += [f"{prefix}{_resource(one)} {self._done}" for one in outcome.given_back]

    def finish(self, reader: ManifestReader) -> None:
        """Everything is written: say so."""
        for line in self._lines or ["osm-healthcheck uninject: nothing to give back"]:
            reader.say(line)


def _resource(where: str) -> str:
    """``Deployment shop/web`` as kubectl and linkerd name it: ``deployment "shop/web"``."""
    kind, _, name = where.partition(" ")
    return f'{kind.lower()} "{name}"'


def _rewritten(pod: InjectedPod) -> str:
    counted = ((pod.probes, "probe"), (pod.hooks, "lifecycle hook"))
    return ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counted if count)
