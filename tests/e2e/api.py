"""GET on an API server: what is asked many times a second, for which kubectl is slow."""

import json
import ssl
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any


class Api:
    """Asks an API server with a client's certificate.

    Args:
        url: of the server.
        folder: with ca.crt, admin.crt and admin.key.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        handlers = (urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def __call__(self, path: str, **query: str) -> Any:
        """GET a path and return the object.

        Raises:
            OSError: the server cannot be reached, or has another status than 200.
        """
        url = f"{self._url}{path}?{urllib.parse.urlencode(query)}"
        with self._opener.open(url, timeout=10) as answer:
            return json.loads(answer.read())

    def ready(self) -> bool:
        """Whether the server takes requests."""
        try:
            with self._opener.open(f"{self._url}/readyz", timeout=5):
                return True
        except OSError:  # urllib's HTTPError, for any other status, is one
            return False
