"""Whether the server lives, whether it can take work, and what it counts."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response, route
from litestar.enums import HttpMethod
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from genway.errors import GenwayError
from genway.relay.metrics import flush

if TYPE_CHECKING:
    from genway.config import Config

LEAST_FREE_BYTES = 200 * 1024 * 1024
JSON = "application/json"
WATCHED = (HttpMethod.GET, HttpMethod.HEAD)  # many who watch ask for no body


def disk_problem(config: Config) -> str | None:
    """Why results could not be kept, or None."""
    free = shutil.disk_usage(config.data_dir).free
    if free < LEAST_FREE_BYTES:
        return f"{config.data_dir} has {free // 1024 // 1024} MiB left; at least {LEAST_FREE_BYTES // 1024 // 1024} are needed"
    return None


@route("/healthz", http_method=WATCHED, media_type=JSON, tags=["operations"])
async def healthz() -> Response[bytes]:
    """The process answers."""
    return Response(msgspec.json.encode({"status": "ok", "version": version("genway")}), media_type=JSON)


@route("/readyz", http_method=WATCHED, media_type=JSON, tags=["operations"])
async def readyz(request: Request[Any, Any, Any]) -> Response[bytes]:
    """200 when work can be taken, else 503 and why not."""
    application = request.app.state.application
    problem = disk_problem(application.config)
    try:
        await application.gateway.ready()
    except (GenwayError, TimeoutError) as error:
        problem = str(error) or "the database does not answer"
    body = {"status": "ready"} if problem is None else {"status": "not ready", "why": problem}
    return Response(msgspec.json.encode(body), status_code=200 if problem is None else 503, media_type=JSON)


@route("/metrics", http_method=WATCHED, media_type="text/plain", tags=["operations"])
async def metrics() -> Response[bytes]:
    """Prometheus' text format; over all workers where there are several."""
    flush()
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


routes = [healthz, readyz, metrics]
