"""What Kubernetes says to single answers, for machines without Go: ``kubernetes-answers.json``.

``python -m tests.differential --record`` asks again and writes the file anew; to add an answer, add
its line with an empty verdict and text.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from tests.differential.case import Case, End, Reply
from tests.differential.compare import ask_kubernetes
from tests.differential.kubernetes import KubernetesProber

FILE = Path(__file__).parent.parent / "vectors" / "kubernetes-answers.json"
HANGS = 0.4


def recorded() -> Iterator[tuple[Case, str, str]]:
    """Each answer as a case, with the verdict and text that Kubernetes came to."""
    for number, (answer, end, verdict, text) in enumerate(json.loads(FILE.read_text())["answers"]):
        pieces: tuple[bytes | float, ...] = (answer.encode("latin-1"),)
        if end == "reset":
            pieces += (0.05,)  # it would overtake the answer
        reply = Reply(pieces, cast("End", end))
        time_limit = HANGS if end == "hang" else 10.0
        yield Case("recorded", str(number), (reply,), time_limit=time_limit), verdict, text


def record(program: Path) -> None:
    """Write down what the prober that was built as ``program`` says."""
    content = json.loads(FILE.read_text())
    prober = KubernetesProber(program)
    lines = []
    for (case, _, _), (answer, end, _, _) in zip(recorded(), content["answers"], strict=True):
        seen = ask_kubernetes(case, prober)
        lines.append(json.dumps([answer, end, seen.verdict, seen.text]))
    prober.close()
    head = {key: value for key, value in content.items() if key != "answers"}
    text = json.dumps(head, indent=1).removesuffix("\n}")
    listed = ",\n  ".join(lines)
    FILE.write_text(f'{text},\n "answers": [\n  {listed}\n ]\n}}\n')
