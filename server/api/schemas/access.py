"""Answers about app passwords, bans and connections."""

from __future__ import annotations

import msgspec

from server.api.schemas.common import Output, time_or_none, time_text
from server.domain.access import AppPassword, Ban
from server.services.identity.app_passwords import IssuedAppPassword
from server.services.identity.connections import LiveConnection


class AppPasswordOut(Output, frozen=True, kw_only=True):
    """An app password as it is listed; `password` is its text and stands only in the answer that made it."""

    id: str
    account_id: str
    name: str
    protocols: list[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    last_used_ip: str | None
    last_used_protocol: str | None
    password: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, password: AppPassword, text: str | msgspec.UnsetType = msgspec.UNSET) -> AppPasswordOut:
        return cls(
            id=password.id,
            account_id=password.account_id,
            name=password.name,
            protocols=[protocol.value for protocol in password.protocols],
            created_at=time_text(password.created_at),
            expires_at=time_or_none(password.expires_at),
            last_used_at=time_or_none(password.last_used_at),
            last_used_ip=password.last_used_ip,
            last_used_protocol=password.last_used_protocol,
            password=text,
        )

    @classmethod
    def issued(cls, issued: IssuedAppPassword) -> AppPasswordOut:
        return cls.of(issued.password, issued.text)


class BanOut(Output, frozen=True, kw_only=True):
    """A ban; `account_id` null = of the network as a whole, `spares_known` = accounts known there go on."""

    id: str
    network: str
    account_id: str | None
    reason: str
    made_by: str
    spares_known: bool
    created_at: str
    expires_at: str | None

    @classmethod
    def of(cls, ban: Ban) -> BanOut:
        return cls(
            id=ban.id,
            network=ban.network,
            account_id=ban.account_id,
            reason=ban.reason,
            made_by=ban.made_by,
            spares_known=ban.spares_known,
            created_at=time_text(ban.created_at),
            expires_at=time_or_none(ban.expires_at),
        )


class ConnectionOut(Output, frozen=True, kw_only=True):
    """A logged-in client of this process; `tls` is the protocol version, empty without TLS."""

    id: str
    protocol: str
    listener: str
    account_id: str
    address: str
    app_password_id: str | None
    ip: str
    tls: str
    since: str
    command: str

    @classmethod
    def of(cls, live: LiveConnection) -> ConnectionOut:
        return cls(
            id=live.id,
            protocol=live.protocol.value if live.protocol is not None else live.listener,
            listener=live.listener,
            account_id=live.account_id,
            address=live.address,
            app_password_id=live.app_password_id,
            ip=live.remote_ip,
            tls=live.tls,
            since=time_text(live.since),
            command=live.command,
        )
