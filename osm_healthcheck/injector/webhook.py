"""HTTPS 9090: ``POST /mutate-pod-creation/<mesh>``, which the API server calls, and ``/healthz``.

A request that is an AdmissionReview is answered with 200 and never refused for a mistake of ours;
what is none gets the status code that says so.
"""

import logging
from time import perf_counter

from aiohttp import web

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injector.admission import AdmissionRequest, read_review
from osm_healthcheck.injector.body_reader import BodyError, BodyReader
from osm_healthcheck.injector.health import respond, text_response
from osm_healthcheck.injector.metrics import Metrics
from osm_healthcheck.injector.pod_admission import Admission, Outcome, PodAdmission, failed
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.rate_limit import RateLimit

PATH = "/mutate-pod-creation"
_MAX_ERROR_CHARACTERS = 1024
_LINES_PER_SECOND, _LINES_BURST = 1, 5
_JSON = "application/json"


class Webhook:
    """Answers requests on 9090. Once ``is_ending``, each answer ends its connection."""

    def __init__(self, admission: PodAdmission, metrics: Metrics, log: Log) -> None:
        self._admission = admission
        self._metrics = metrics
        self._log = log
        self._limit = RateLimit(_LINES_PER_SECOND, _LINES_BURST)
        self._told: set[str] = set()  # at most as many as there are meshes
        self._bodies = BodyReader()
        self.is_ending = False

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        response = await self._answer(request)
        if self.is_ending:
            response.force_close()  # the API server's next request goes to another replica
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/healthz":
            if request.method not in ("GET", "HEAD"):
                return self._refuse(405, "ask with GET or HEAD", {"Allow": "GET, HEAD"})
            return text_response(200, "Health OK")
        path, _, mesh = request.path.removeprefix("/").partition("/")
        if f"/{path}" != PATH:
            return self._refuse(404, f"no such path: POST {PATH}/<mesh>, GET /healthz")
        if mesh and mesh not in self._admission.injections:
            known = ", ".join(self._admission.injections)
            return self._refuse(404, f"no mesh of that name: {known}")
        if request.method != "POST":
            return self._refuse(405, f"{PATH} is for POST", {"Allow": "POST"})
        if request.content_type != _JSON:
            return self._refuse(415, f"Content-Type: must be {_JSON}")
        try:
            body = await self._bodies.read(request)
        except BodyError as error:
            return self._refuse(error.status, str(error))
        return self._admit(body, mesh)

    def _admit(self, body: bytes, mesh: str) -> web.StreamResponse:
        began = perf_counter()
        try:
            request = read_review(body)
        except InvalidInputError as error:
            return self._refuse(400, str(error)[:_MAX_ERROR_CHARACTERS])
        admission = self._decide(request, mesh)
        answer = admission.response.as_review()
        named = admission.mesh or mesh or self._admission.default_mesh
        self._metrics.admissions.labels(named, admission.outcome.value).inc()
        self._metrics.seconds.observe(perf_counter() - began)
        return respond(200, answer, _JSON)

    def _decide(self, request: AdmissionRequest, mesh: str) -> Admission:
        try:
            admission = self._admission.admit(request, mesh)
        except Exception as error:  # whatever it is, the pod must not be refused for it
            admission = failed(request.uid, error)
        self._write(request, admission)
        return admission

    def _write(self, request: AdmissionRequest, admission: Admission) -> None:
        """Lines in the log, within limits: anybody may create pods that are wrong."""
        for notice in admission.notices:
            if notice not in self._told:
                self._told.add(notice)
                self._log.info(notice)
        level, text, more = logging.DEBUG, "pod admitted", {}
        response = admission.response
        match admission.outcome:
            case Outcome.FAILED:
                level, text = logging.ERROR, "admission failed"
                more = {"error": admission.error}
            case Outcome.INVALID | Outcome.DENIED:
                level, text = logging.WARNING, "pod is invalid"
                more = {"reason": response.message or response.warnings[0]}
        outcome = admission.outcome.value
        self._log.limited(
            level, self._limit, text, namespace=request.namespace, outcome=outcome, **more
        )

    def _refuse(
        self, status: int, text: str, headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        self._metrics.refused.labels(str(status)).inc()
        response = text_response(status, text, headers)
        if status in (408, 413):
            response.force_close()
        return response
