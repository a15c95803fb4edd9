"""The commands on scripts (RFC 5804 §2.5-2.12): services in, responses out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from server.domain.errors import Conflict, InvalidInput, MaiRustError, NotFound, OverQuota
from server.managesieve.session import Session
from server.protocol.managesieve import (
    CheckScript,
    HaveSpace,
    OnScript,
    PutScript,
    RenameScript,
    ScriptVerb,
    format_response,
    format_string,
)

Scripting = OnScript | HaveSpace | PutScript | CheckScript | RenameScript
TOO_LARGE = format_response(b"NO", "The script is too large", b"QUOTA/MAXSIZE")


async def do_list(session: Session) -> bytes:
    for name, active in await session.services.scripts.list(session.account_id):
        session.send(format_string(name.encode("utf-8")) + (b" ACTIVE\r\n" if active else b"\r\n"))
    return format_response(b"OK", "Listed")


async def do_script(session: Session, command: Scripting) -> bytes:
    """Run a command on scripts; returns the response's last line."""
    try:
        return await _run(session, command)
    except Conflict as error:
        active = isinstance(command, OnScript)
        return _no(error, b"ACTIVE" if active else b"ALREADYEXISTS")
    except NotFound as error:
        return _no(error, b"NONEXISTENT")
    except OverQuota as error:
        return _no(error, b"QUOTA/MAXSCRIPTS" if error.code == "max_scripts" else b"QUOTA/MAXSIZE")
    except InvalidInput as error:
        return _no(error, b"QUOTA/MAXSIZE" if error.code == "limit" else b"")
    except MaiRustError as error:
        return _no(error, b"TRYLATER" if error.temporary else b"")


async def _run(session: Session, command: Scripting) -> bytes:
    scripts, account_id = session.services.scripts, session.account_id
    match command:
        case OnScript():
            return await _on_script(session, command)
        case HaveSpace(name, size):
            await scripts.have_space(account_id, name, size)
            return format_response(b"OK", "There is space")
        case PutScript(name, script):
            return _warned(await scripts.put(account_id, name, script), "Stored")
        case CheckScript(script):
            return _warned(await scripts.check(script), "The script is valid")
        case RenameScript(name, to):
            await scripts.rename(account_id, name, to)
            return format_response(b"OK", "Renamed")
        case _:
            assert_never(command)


async def _on_script(session: Session, command: OnScript) -> bytes:
    scripts, account_id = session.services.scripts, session.account_id
    match command.verb:
        case ScriptVerb.GETSCRIPT:
            octets = await scripts.get(account_id, command.name)
            session.send(b"{%d}\r\n%s\r\n" % (len(octets), octets))
            return format_response(b"OK", "That is it")
        case ScriptVerb.DELETESCRIPT:
            await scripts.delete(account_id, command.name)
            return format_response(b"OK", "Deleted")
        case ScriptVerb.SETACTIVE:
            await scripts.activate(account_id, command.name)
            return format_response(b"OK", "Active" if command.name else "No script is active")
        case _:
            assert_never(command.verb)


def _warned(warnings: Sequence[str], text: str) -> bytes:
    return format_response(b"OK", "\r\n".join(warnings), b"WARNINGS") if warnings else format_response(b"OK", text)


def _no(error: MaiRustError, code: bytes) -> bytes:
    return format_response(b"NO", error.public[:1].upper() + error.public[1:], code)
