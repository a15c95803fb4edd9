"""A session: where it stands, who it is, what it has open; and how it speaks (RFC 9051 §3).

- Responses gather in one buffer and leave in one write; a command's last line goes after everything it caused.
- Long answers pause every SLICE_S so that other sessions run, and wait for the client to read.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from server.config.schema import Settings
from server.domain.access import Presence
from server.domain.envelope import ConnectionInfo
from server.domain.errors import Forbidden, NotFound, Unauthenticated
from server.domain.identity import Principal
from server.domain.ids import AccountId, Uid
from server.domain.rights import ALL_RIGHTS, CHANGING, READ
from server.imap.connection import ConnectionClosed, ImapConnection
from server.imap.modes import SessionModes
from server.imap.selected import SelectedMailbox
from server.imap.services import ImapServices
from server.services.mailstore.access import flag_mask
from server.services.mailstore.store import MailStore

SLICE_S = 0.0015
FLUSH_OCTETS = 32 * 1024
LOGIN_TIMEOUT_S = 60.0
"""reliability.md §8: before login, in all."""


class State(Enum):
    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"
    LOGOUT = "logout"


@dataclass(frozen=True, slots=True)
class Result:
    """A command's tagged response; `code` is what stands in brackets."""

    status: bytes
    text: str
    code: bytes = b""


def ok(text: str, code: bytes = b"") -> Result:
    return Result(b"OK", text, code)


def no(text: str, code: bytes = b"") -> Result:
    return Result(b"NO", text, code)


def bad(text: str, code: bytes = b"") -> Result:
    return Result(b"BAD", text, code)


class Watch(Protocol):
    """What the client is told without asking (RFC 5465)."""

    @property
    def due_at(self) -> float: ...

    async def tell(self, *, idle: bool) -> None: ...

    async def told_new(self, first: int) -> None: ...

    def end(self) -> None: ...


class Session:
    """One client from greeting to BYE.

    Args:
        admit: Called with a principal at login; False when it has too many sessions from its address.
        tls_context: The present TLS context, None when the server has none.
    """

    def __init__(
        self,
        *,
        connection: ImapConnection,
        info: ConnectionInfo,
        services: ImapServices,
        settings: Settings,
        tls_context: Callable[[], ssl.SSLContext | None],
        admit: Callable[[Principal], bool],
    ) -> None:
        self.connection = connection
        self.info = info
        self.services = services
        self.settings = settings
        self.tls_context = tls_context
        self.state = State.NOT_AUTHENTICATED
        self.selected_mailbox: SelectedMailbox | None = None
        self.selected_name = ""
        self.modes = SessionModes()
        self.rights = ALL_RIGHTS
        self.idle = False
        self.draining = False
        self.last_word = b"* BYE Server is shutting down\r\n"
        self.presence: Presence | None = None
        self.watch: Watch | None = None
        self._admit = admit
        self._principal: Principal | None = None
        self._out: list[bytes] = []
        self._out_octets = 0
        self._slice_started = time.perf_counter()
        self._opened = asyncio.get_running_loop().time()

    @property
    def mailstore(self) -> MailStore:
        return self.services.mailstore

    @property
    def principal(self) -> Principal:
        if self._principal is None:
            raise Unauthenticated("log in first")
        return self._principal

    @property
    def logged_in_account(self) -> AccountId | None:
        return None if self._principal is None else self._principal.account_id

    @property
    def account_id(self) -> AccountId:
        return self.principal.account_id

    @property
    def is_secure(self) -> bool:
        return self.info.tls is not None

    @property
    def selected(self) -> SelectedMailbox:
        if self.selected_mailbox is None:
            raise NotFound("no mailbox is selected")
        return self.selected_mailbox

    def deadline(self) -> float:
        """When the client must have said something, in the loop's time."""
        if self.state is State.NOT_AUTHENTICATED:
            return self._opened + LOGIN_TIMEOUT_S
        return asyncio.get_running_loop().time() + self.settings.imap.idle_timeout

    def end(self, last_word: bytes) -> None:
        """End at the next pause between commands, with this line."""
        self.draining, self.last_word = True, last_word
        self.connection.poke()

    def login(self, principal: Principal) -> bool:
        """Become authenticated; False when the account has too many sessions from this address."""
        if not self._admit(principal):
            return False
        self._principal = principal
        self.state = State.AUTHENTICATED
        self.connection.logged_in()
        return True

    async def start_tls(self) -> None:
        """Upgrade the connection. Raises ConnectionClosed."""
        context = self.tls_context()
        if context is None:
            raise ConnectionClosed
        self.info = replace(self.info, tls=await self.connection.start_tls(context))

    # Output.

    def send(self, data: bytes) -> None:
        """Add to what goes out with the next flush."""
        self._out.append(data)
        self._out_octets += len(data)

    async def flush(self) -> None:
        """Write what has gathered, then wait until the client keeps up. Raises ConnectionClosed."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._out_octets = 0
            if len(data) > 2 * FLUSH_OCTETS:
                await self.connection.write_large(data)
            else:
                self.connection.write(data)
        await self.connection.drain()

    async def pace(self) -> None:
        """Call often in long loops: flushes when much has gathered, lets others run when the slice is over."""
        if self._out_octets >= FLUSH_OCTETS:
            await self.flush()
        if time.perf_counter() - self._slice_started > SLICE_S:
            await asyncio.sleep(0)
            self._slice_started = time.perf_counter()

    # The selected mailbox.

    def enable_condstore(self) -> None:
        """Speak of modseqs from now on: the client used a command that asks for them (RFC 7162 §3.1)."""
        if self.modes.condstore:
            return
        self.modes.condstore = True
        if self.selected_mailbox is not None:
            self.send(b"* OK [HIGHESTMODSEQ %d] Modseqs from now on\r\n" % self.selected_mailbox.told_modseq)

    async def check_rights(self) -> None:
        """Read anew what may be done with the selected mailbox of another account (RFC 4314 §4).

        Raises:
            NotFound: It may not be read any more; it was left, and nothing more of it is told.
        """
        selected = self.selected_mailbox
        if selected is None or selected.view.account_id == self.account_id:
            return
        self.rights = await self.mailstore.access.rights_now(self.principal, selected.view.mailbox)
        if READ not in self.rights:
            await self.unselect()
            raise NotFound("no such mailbox")

    def require(self, rights: str) -> None:
        """Whether all of these rights on the selected mailbox are there. Raises Forbidden."""
        if not all(right in self.rights for right in rights):
            raise Forbidden("you have no right to do that with this mailbox")

    async def select(self, name: str, *, read_only: bool) -> SelectedMailbox:
        """Open a mailbox; one that was open is left (RFC 9051 §7.1 CLOSED). Raises NotFound, InvalidInput."""
        if self.selected_mailbox is not None:
            await self.unselect()
            self.send(b"* OK [CLOSED] Previous mailbox is closed\r\n")
        place = await self.mailstore.access.place(self.principal, name, READ)
        mailbox = await self.mailstore.mailbox(place.account_id, place.name)
        self.rights = place.rights
        read_only = read_only or not any(right in CHANGING for right in place.rights)
        selected = SelectedMailbox(read_only=read_only, modes=self.modes, wake=self.connection.poke)
        selected.permitted = flag_mask(place.rights)
        view = await self.mailstore.open(place.account_id, mailbox.id, selected)
        selected.attach(view)
        self.selected_mailbox = selected
        self.selected_name = place.prefix + mailbox.name
        self.state = State.SELECTED
        if not read_only:
            await self.mailstore.claim_recent(view, view.mailbox.uidnext)
        return selected

    async def unselect(self) -> None:
        """Leave the selected mailbox, if there is one."""
        selected, self.selected_mailbox = self.selected_mailbox, None
        if self.state is State.SELECTED:
            self.state = State.AUTHENTICATED
        if selected is None:
            return
        view = selected.view
        self.mailstore.close(view, selected)
        if not selected.read_only and selected.uids and not view.deleted:
            await self.mailstore.claim_recent(view, Uid(selected.uids[-1] + 1))

    def replace_watch(self, watch: Watch | None) -> None:
        """From now on the client is told without asking what this one says; None for nothing."""
        if self.watch is not None:
            self.watch.end()
        self.watch = watch

    async def pause(self, deadline: float, *, idle: bool = False) -> None:
        """Wait for input, a hint, or the next look at what the client is told without asking; that is told first.

        Raises:
            TimeoutError: `deadline` (loop time) has come.
            ConnectionClosed, NotFound: As `sync` and the connection.
        """
        until = deadline
        if self.watch is not None:
            await self.watch.tell(idle=idle)
            await self.flush()
            until = min(deadline, self.watch.due_at)
        try:
            await self.connection.wait(until)
        except TimeoutError:
            if asyncio.get_running_loop().time() >= deadline:
                raise

    async def sync(self, *, expunge: bool, flags: bool = True) -> None:
        """Add untagged responses for what changed in the selected mailbox.

        Args:
            flags: Whether changed flags are told now; if not, they wait.

        Raises:
            NotFound: The mailbox was deleted by somebody else.
        """
        if self.selected_mailbox is None:
            return
        await self.check_rights()
        selected = self.selected_mailbox
        await selected.view.refresh()
        last = selected.uids[-1] if selected.uids else 0
        for line in selected.updates(expunge=expunge, flags=flags):
            self.send(line)
            await self.pace()
        if self.watch is not None and selected.uids and selected.uids[-1] > last:
            await self.watch.told_new(selected.first_after(last))
