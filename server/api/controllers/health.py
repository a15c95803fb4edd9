"""Health and metrics (api.md §9)."""

from __future__ import annotations

import ipaddress

from litestar import Controller, Request, Response, get
from litestar.datastructures import State

from server.api.dependencies import Caller, CurrentSettings, ServerStatus
from server.api.guards import PUBLIC, needs
from server.api.requests import CallerState
from server.api.schemas.system import DetailedHealthOut, HealthOut, PartOut, ReadyOut
from server.domain.errors import NotFound, Unauthenticated
from server.domain.scopes import require
from server.services.upkeep.status import Health
from server.telemetry import metrics


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get(operation_id="get_health", opt=PUBLIC)
    async def get_health(self, server_status: ServerStatus) -> Response[HealthOut]:
        """One word; 503 when unhealthy."""
        word = await server_status.overall()
        return Response(HealthOut(status=word.value), status_code=503 if word is Health.UNHEALTHY else 200)

    @get("/live", operation_id="get_liveness", opt=PUBLIC)
    async def get_liveness(self) -> HealthOut:
        """The event loop runs."""
        return HealthOut(status="alive")

    @get("/ready", operation_id="get_readiness", opt=PUBLIC)
    async def get_readiness(self, server_status: ServerStatus) -> Response[ReadyOut]:
        """Whether mail can be taken now; 503 when not."""
        ready, reason = await server_status.ready()
        return Response(
            ReadyOut(status="ready" if ready else "not ready", reason=reason), status_code=200 if ready else 503
        )

    @get("/detailed", operation_id="get_detailed_health", opt=needs("system:read"))
    async def get_detailed_health(self, caller: Caller, server_status: ServerStatus) -> DetailedHealthOut:
        """Every part with its state."""
        require(caller, "system:read")
        parts = await server_status.parts()
        word = (await server_status.overall()).value
        return DetailedHealthOut(status=word, checks={name: PartOut.of(part) for name, part in parts.items()})


class MetricsController(Controller):
    path = "/metrics"
    tags = ("health",)

    @get(operation_id="get_metrics", opt=PUBLIC, media_type=metrics.CONTENT_TYPE)
    async def get_metrics(self, request: Request[object, object, State], settings: CurrentSettings) -> Response[bytes]:
        """Prometheus metrics: for the networks in `metrics.allow`, the admin socket, and the scope metrics:read."""
        current = settings().metrics
        if not current.enabled:
            raise NotFound("metrics are off")
        state = CallerState.of(request.scope["state"])
        if state.scope is not None:
            require(state.scope, "metrics:read")
        elif not any(ipaddress.ip_address(state.remote_ip) in network for network in current.allow):
            raise Unauthenticated("metrics are for the networks in metrics.allow, or a credential")
        return Response(metrics.render(), media_type=metrics.CONTENT_TYPE)
