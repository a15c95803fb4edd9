"""The HTTP application: controllers, one error shape, the gateway around them.

- Importing this room loads the HTTP stack; the daemon does so after the mail listeners are up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from litestar import Litestar, Response
from litestar.connection import Request
from litestar.di import Provide
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ControllerRouterHandler

from server.api.asgi import App
from server.api.auth import Authenticator, own_policy
from server.api.controllers.accounts import AccountController
from server.api.controllers.aliases import AliasController
from server.api.controllers.api_keys import ApiKeyController
from server.api.controllers.app_passwords import AccountAppPasswordController, AppPasswordController
from server.api.controllers.connections import AccountSessionController, BanController, ConnectionController
from server.api.controllers.docs import DocsController
from server.api.controllers.doctor import DoctorController
from server.api.controllers.domain_aliases import DomainAliasController
from server.api.controllers.domains import DomainController
from server.api.controllers.events import EventController
from server.api.controllers.filters import AdminSieveController, FilterController, SieveController, SieveToolController
from server.api.controllers.grants import GrantController, SendGrantController
from server.api.controllers.health import HealthController, MetricsController
from server.api.controllers.jobs import ExportController, ImportController, JobController
from server.api.controllers.mailboxes import MailboxController
from server.api.controllers.messages import DeletedMessageController, MessageController, ThreadController
from server.api.controllers.queue import QueueController
from server.api.controllers.search import SearchController
from server.api.controllers.send import SendController, SubmissionController
from server.api.controllers.settings import SettingsController
from server.api.controllers.system import SystemController
from server.api.controllers.tags import CategoryController, TagController
from server.api.controllers.tenants import OwnTenantController, TenantController
from server.api.controllers.trace import TraceController
from server.api.controllers.usage import UsageController
from server.api.gateway import Gateway
from server.api.guards import authorise
from server.api.idempotency import Repeats
from server.api.limits import RateLimits
from server.api.pagination import Cursors
from server.api.problems import CODE_OF_STATUS, MEDIA_TYPE, FieldProblem, Problem, make_problem, problem_of
from server.api.requests import ApiRequest, CallerState, caller
from server.api.services import ApiServices
from server.domain.errors import MaiRustError
from server.telemetry.log import get_logger

log = get_logger("api")

CONTROLLERS: tuple[ControllerRouterHandler, ...] = (
    TenantController,
    OwnTenantController,
    DomainController,
    DomainAliasController,
    AccountController,
    AliasController,
    ApiKeyController,
    AppPasswordController,
    AccountAppPasswordController,
    AccountSessionController,
    GrantController,
    SendGrantController,
    ConnectionController,
    BanController,
    FilterController,
    SieveController,
    SieveToolController,
    AdminSieveController,
    UsageController,
    MailboxController,
    MessageController,
    DeletedMessageController,
    ThreadController,
    TagController,
    CategoryController,
    SearchController,
    QueueController,
    TraceController,
    EventController,
    SendController,
    SubmissionController,
    JobController,
    ImportController,
    ExportController,
    SettingsController,
    DoctorController,
    SystemController,
    HealthController,
    MetricsController,
    DocsController,
)


DEPENDENCIES: dict[str, Callable[[ApiServices], object]] = {
    "caller": lambda _: None,
    "cursors": lambda s: Cursors(s.cursor_key, s.clock),
    "settings": lambda s: s.settings,
    "validate": lambda s: s.validate_settings,
    "reload": lambda s: s.reload_settings,
    "tenants": lambda s: s.tenants,
    "domains": lambda s: s.domains,
    "domain_aliases": lambda s: s.domain_aliases,
    "accounts": lambda s: s.accounts,
    "aliases": lambda s: s.aliases,
    "tokens": lambda s: s.tokens,
    "app_passwords": lambda s: s.app_passwords,
    "grants": lambda s: s.grants,
    "send_grants": lambda s: s.send_grants,
    "bans": lambda s: s.bans,
    "connections": lambda s: s.connections,
    "usage": lambda s: s.usage,
    "purging": lambda s: s.purge,
    "mail": lambda s: s.mail.reader,
    "mail_actions": lambda s: s.mail.actor,
    "deleted": lambda s: s.mail.deleted,
    "tag_definitions": lambda s: s.mail.tags,
    "filters": lambda s: s.filters,
    "searching": lambda s: s.searching,
    "search_index": lambda s: s.search_index,
    "queue": lambda s: s.queue,
    "submissions": lambda s: s.submissions,
    "sending": lambda s: s.sender,
    "traces": lambda s: s.traces,
    "doctor": lambda s: s.doctor,
    "jobs": lambda s: s.jobs,
    "uploads": lambda s: s.uploads,
    "exports": lambda s: s.exports,
    "server_status": lambda s: s.status,
}
"""What a handler may ask for by name; `caller` is made anew for each request."""


def create_app(services: ApiServices) -> Gateway:
    """The whole application, ready to be served."""
    return Gateway(
        cast(App, litestar_app(services)),
        authenticator=Authenticator(services.callers, own_policy(services.admin_gid)),
        limits=RateLimits(services.clock, lambda: services.settings().api),
        repeats=Repeats(services.idempotency),
        settings=services.settings,
        refuses=services.bans.refuses,
    )


def litestar_app(services: ApiServices) -> Litestar:
    """The routes with their dependencies."""
    return Litestar(
        route_handlers=list(CONTROLLERS),
        dependencies=_dependencies(services),
        guards=[authorise],
        request_class=ApiRequest,
        exception_handlers={Exception: _problem},
        openapi_config=None,
        logging_config=None,
        debug=False,
        signature_types=(),
        etag=None,
    )


def _dependencies(services: ApiServices) -> dict[str, Provide]:
    given = {name: _given(get(services)) for name, get in DEPENDENCIES.items()}
    return {**given, "caller": Provide(caller, sync_to_thread=False)}


def _given(value: object) -> Provide:
    """A dependency that is always the same object."""

    def provide() -> object:
        return value

    return Provide(provide, sync_to_thread=False)


def _problem(request: Request[object, object, object], error: Exception) -> Response[Problem]:  # type: ignore[type-var]
    state = CallerState.of(request.scope["state"])
    path = request.scope["path"]
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        if error.status_code >= 500:
            log.exception("api.failed", error.__cause__ or error, path=path[:256])
        problem = _of_framework(error, state.request_id, path)
        headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    else:
        if not isinstance(error, MaiRustError):
            log.exception("api.failed", error, path=path[:256])
        problem, headers = problem_of(error, request_id=state.request_id, path=path)
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def _of_framework(error: HTTPException, request_id: str, path: str) -> Problem:
    """What the framework refused, in our words; a failed conversion of parameters names them."""
    if isinstance(error, ValidationException):
        faults = [
            FieldProblem(
                pointer="/" + str(item.get("key", "")).replace(".", "/"),
                code="validation_failed",
                detail=str(item.get("message", ""))[:256],
            )
            for item in (error.extra if isinstance(error.extra, list) else [])
            if isinstance(item, dict)
        ]
        detail = "the input is not valid"
        return make_problem("validation_failed", detail, request_id=request_id, path=path, errors=faults)
    code = CODE_OF_STATUS.get(error.status_code, "internal")
    return make_problem(code, "", request_id=request_id, path=path)
