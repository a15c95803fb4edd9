"""A mail exchanger on loopback that does as it is told, kindly or not.

- `script` maps a stage to what happens there: bytes are sent as they are, `DROP` closes, `RESET` aborts, `HANG` says
  nothing more, a list gives one of these for each time the stage is reached and then the normal answer.
- Stages: connect, ehlo, helo, starttls, handshake, auth, rset, mail, rcpt, rcpt:ADDRESS, data, body, dot, quit.
- What was accepted is in `messages`; `connections` counts who came, `log` holds every command line.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

DROP = "drop"
RESET = "reset"
HANG = "hang"
LOST_250 = "lost"
"""Only for `dot`: the message is kept, and its answer never sent."""

Act = bytes | str | Sequence[bytes | str | None]


@dataclass
class Taken:
    """One message as it was accepted."""

    mail: str
    rcpts: list[str]
    data: bytes
    tls: bool


@dataclass
class _Conversation:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    tls: bool = False
    mail: str = ""
    rcpts: list[str] = field(default_factory=list)


class _End(Exception):
    """The conversation is over."""


class FakeMx:
    """One server; use as an async context manager."""

    def __init__(
        self,
        *,
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "ENHANCEDSTATUSCODES"),
        script: dict[str, Act] | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        delay_s: float = 0.0,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.extensions = list(extensions)
        self.script = dict(script or {})
        self.messages: list[Taken] = []
        self.log: list[str] = []
        self.connections = 0
        self.open = 0
        self.open_most = 0
        self.delay_s = delay_s
        self._tls = tls
        self._host = host
        self._login = login
        self._counts: dict[str, int] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> FakeMx:
        self._server = await asyncio.start_server(self._serve, self._host, self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        # Aborted transports close in the loop's next rounds.
        for _ in range(5):
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self.open_most = max(self.open, self.open_most)
        talk = _Conversation(reader, writer)
        try:
            await self._converse(talk)
        except (_End, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            talk.writer.transport.abort()

    async def _act(self, talk: _Conversation, stage: str, normal: bytes) -> bool:
        """Answer at a stage; whether the normal answer was given."""
        act = self.script.get(stage)
        if isinstance(act, list | tuple):
            number = self._counts.get(stage, 0)
            self._counts[stage] = number + 1
            act = act[number] if number < len(act) else None
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if act is None:
            await self._say(talk, normal)
            return True
        if act == DROP:
            talk.writer.close()
            raise _End
        if act == RESET or act == LOST_250:
            talk.writer.transport.abort()
            raise _End
        if act == HANG:
            await asyncio.sleep(3600)
        assert isinstance(act, bytes)
        await self._say(talk, act)
        return False

    async def _say(self, talk: _Conversation, data: bytes) -> None:
        talk.writer.write(data)
        await talk.writer.drain()

    async def _converse(self, talk: _Conversation) -> None:
        await self._act(talk, "connect", b"220 mx.test ESMTP\r\n")
        while True:
            line = await talk.reader.readuntil(b"\r\n")
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.log.append(text)
            verb, _, argument = text.partition(" ")
            handler = getattr(self, f"_do_{verb.lower()}", None)
            if handler is None:
                await self._say(talk, b"500 5.5.1 what?\r\n")
            else:
                await handler(talk, argument)

    async def _do_ehlo(self, talk: _Conversation, argument: str) -> None:
        words = [word for word in self.extensions if not (talk.tls and word == "STARTTLS")]
        lines = ["mx.test", *words]
        text = "".join(f"250{'-' if i < len(lines) - 1 else ' '}{line}\r\n" for i, line in enumerate(lines))
        await self._act(talk, "ehlo", text.encode())

    async def _do_helo(self, talk: _Conversation, argument: str) -> None:
        await self._act(talk, "helo", b"250 mx.test\r\n")

    async def _do_starttls(self, talk: _Conversation, argument: str) -> None:
        if not await self._act(talk, "starttls", b"220 2.0.0 go ahead\r\n") and "starttls" in self.script:
            return
        if "handshake" in self.script:
            await talk.reader.read(1)
            await self._act(talk, "handshake", b"")
            return
        assert self._tls is not None
        await talk.writer.start_tls(self._tls)
        talk.tls = True

    async def _do_auth(self, talk: _Conversation, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism == "PLAIN":
            _, user, secret = base64.b64decode(initial).decode().split("\0")
        else:
            await self._say(talk, b"334 VXNlcm5hbWU6\r\n")
            user = base64.b64decode(await talk.reader.readuntil(b"\r\n")).decode()
            await self._say(talk, b"334 UGFzc3dvcmQ6\r\n")
            secret = base64.b64decode(await talk.reader.readuntil(b"\r\n")).decode()
        good = (user, secret) == self._login
        await self._act(talk, "auth", b"235 2.7.0 welcome\r\n" if good else b"535 5.7.8 wrong credentials\r\n")

    async def _do_rset(self, talk: _Conversation, argument: str) -> None:
        talk.mail, talk.rcpts = "", []
        await self._act(talk, "rset", b"250 2.0.0 ok\r\n")

    async def _do_mail(self, talk: _Conversation, argument: str) -> None:
        if await self._act(talk, "mail", b"250 2.1.0 ok\r\n"):
            talk.mail = argument

    async def _do_rcpt(self, talk: _Conversation, argument: str) -> None:
        address = argument[argument.find("<") + 1 : argument.find(">")]
        stage = f"rcpt:{address}" if f"rcpt:{address}" in self.script else "rcpt"
        if not talk.mail:
            await self._say(talk, b"503 5.5.1 MAIL first\r\n")
        elif await self._act(talk, stage, b"250 2.1.5 ok\r\n"):
            talk.rcpts.append(argument)

    async def _do_data(self, talk: _Conversation, argument: str) -> None:
        if not talk.rcpts:
            await self._say(talk, b"503 5.5.1 RCPT first\r\n")
            return
        if not await self._act(talk, "data", b"354 go\r\n"):
            return
        if "body" in self.script:
            await talk.reader.read(10)
            await self._act(talk, "body", b"")
        data = await self._body(talk)
        taken = Taken(talk.mail, talk.rcpts, data, talk.tls)
        talk.mail, talk.rcpts = "", []
        if self.script.get("dot") == LOST_250 or self._dot_lost():
            self.messages.append(taken)
        if await self._act(talk, "dot", b"250 2.0.0 taken as 4711\r\n"):
            self.messages.append(taken)

    def _dot_lost(self) -> bool:
        act = self.script.get("dot")
        number = self._counts.get("dot", 0)
        return isinstance(act, list | tuple) and number < len(act) and act[number] == LOST_250

    async def _body(self, talk: _Conversation) -> bytes:
        lines: list[bytes] = []
        while True:
            line = await talk.reader.readuntil(b"\r\n")
            if line == b".\r\n":
                return b"".join(lines)
            lines.append(line[1:] if line.startswith(b".") else line)

    async def _do_quit(self, talk: _Conversation, argument: str) -> None:
        await self._act(talk, "quit", b"221 2.0.0 bye\r\n")
        raise _End
