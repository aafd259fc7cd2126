"""The cases, a module for each kind of app or probe."""

from collections.abc import Callable, Iterator, Mapping

from tests.differential.case import Case
from tests.differential.zoo import http1

GROUPS: Mapping[str, Callable[[], Iterator[Case]]] = {
    "http1": http1.cases,
}
