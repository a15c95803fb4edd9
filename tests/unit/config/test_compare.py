"""server.config.compare: what a reload takes and what it leaves (config.md §1)."""

from __future__ import annotations

from server.config.compare import merge
from server.config.load import parse
from server.config.schema import Settings


def settings(text: str) -> Settings:
    return parse("server: {hostname: m.example}\n" + text).settings


def test_reloadable_keys_are_taken_and_others_keep_their_value() -> None:
    new = parse("server: {hostname: n.example, shutdown_grace: 5s}\nsmtp: {max_hops: 30}\n").settings
    merged = merge(settings(""), new)
    assert merged.applied == ("server.shutdown_grace", "smtp.max_hops")
    assert merged.restart_required == ("server.hostname",)
    assert merged.settings.server.hostname == "m.example"
    assert merged.settings.server.shutdown_grace == 5.0
    assert merged.settings.smtp.max_hops == 30


def test_nothing_changed_is_nothing_applied() -> None:
    merged = merge(settings("smtp: {max_hops: 30}"), settings("smtp: {max_hops: 30}"))
    assert (merged.applied, merged.restart_required) == ((), ())


def test_a_relay_may_come_and_go_by_reload() -> None:
    with_relay = settings("outbound: {relay: {host: r.example}}")
    merged = merge(settings(""), with_relay)
    assert merged.applied == ("outbound.relay",)
    assert merged.settings.outbound.relay == with_relay.outbound.relay
    assert merge(with_relay, settings("")).settings.outbound.relay is None
