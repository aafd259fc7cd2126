"""Callers that ask an injector all the time, as an API server does: connections are used again."""

import concurrent.futures
import json
import threading

from tests.io.injector import PATH, Injector, review
from tests.io.wire import TIMEOUT

_CALLERS = 4
_ENOUGH = 20
_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"containers": [{"name": "app", "livenessProbe": {"httpGet": {"port": 8080}}}]},
}


class Load:
    """Admissions from four callers, until the block ends and some more have been answered.

    A connection that an answer has ended is made anew, to a replica that has not left.
    """

    def __init__(self, *replicas: Injector) -> None:
        self._replicas = list(replicas)
        self._end = threading.Event()
        self._answer = threading.Condition()
        self._answered = 0
        self.failures: list[str] = []

    def __enter__(self) -> "Load":
        self._pool = concurrent.futures.ThreadPoolExecutor(_CALLERS)
        self._work = [self._pool.submit(self._ask, number) for number in range(_CALLERS)]
        self.wait_for_answers()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait_for_answers()
        self._end.set()
        self._pool.shutdown()
        for one in self._work:
            one.result()

    def wait_for_answers(self) -> None:
        """Wait until some more have come."""
        with self._answer:
            wanted = self._answered + _ENOUGH
            came = self._answer.wait_for(lambda: self._answered >= wanted or self.failures, TIMEOUT)
        assert came, "no answers come"

    def leave(self, replica: Injector) -> None:
        """New connections go to the others from now on, as when its endpoint is not ready."""
        self._replicas.remove(replica)

    def _ask(self, number: int) -> None:
        body = json.dumps(review(_POD)).encode()
        connection = None
        while not self._end.is_set():
            try:
                if connection is None or connection.sock is None:
                    connection = self._replicas[number % len(self._replicas)].connect()
                connection.request(
                    "POST", f"{PATH}/istio", body, {"Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                text = answer.read()
                failure = "" if answer.status == 200 and b'"patch"' in text else text.decode()
            except OSError as error:
                failure = repr(error)
            with self._answer:
                self._answered += 1
                self.failures += [failure] * bool(failure)
                self._answer.notify_all()
            if failure:
                return
        if connection is not None:
            connection.close()
