"""`Notifier` within one process: hints from the committer to the sessions that wait.

- `publish` and every `wake` run in the event loop; a wake that fails is logged and disturbs nobody else.
- A hint carries nothing that the store doesn't say too.
"""

from __future__ import annotations

from collections.abc import Callable

from server.domain.changes import StateChange
from server.domain.ids import AccountId
from server.telemetry.log import get_logger

Wake = Callable[[StateChange], None]
log = get_logger("daemon")


class LocalNotifier:
    """Implements `domain.ports.Notifier`."""

    def __init__(self) -> None:
        self._waiting: dict[AccountId, dict[object, Wake]] = {}
        self._watching: list[Wake] = []

    def watch(self, wake: Wake) -> None:
        """Call `wake` at each change of any account, for good."""
        self._watching.append(wake)

    def publish(self, change: StateChange) -> None:
        for wake in [*self._waiting.get(change.account_id, {}).values(), *self._watching]:
            try:
                wake(change)
            except Exception as error:
                log.exception("notify.failed", error, account_id=change.account_id)

    def subscribe(self, account_id: AccountId, wake: Wake) -> Callable[[], None]:
        token = object()
        self._waiting.setdefault(account_id, {})[token] = wake

        def end() -> None:
            waiting = self._waiting.get(account_id, {})
            waiting.pop(token, None)
            if not waiting:
                self._waiting.pop(account_id, None)

        return end
