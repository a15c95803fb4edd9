"""From a notice to the octets of a delivery status notification (RFC 3464)."""

from __future__ import annotations

from server.domain.address import Address
from server.domain.errors import InvalidInput
from server.protocol import dsn
from server.protocol.smtp.address import AddressSyntaxError, parse_address
from server.services.queue.dsn import Judged, Notice


def compose_notice(notice: Notice) -> bytes:
    """Write the report to the message's sender. Raises InvalidInput when that is no address."""
    return dsn.compose_dsn(
        dsn.Report(
            reporting_mta=notice.reporting_mta,
            sender=Address("postmaster", notice.reporting_mta),
            to=_address(notice.message.sender),
            recipients=[_recipient(notice, judged) for judged in notice.outcomes],
            original=notice.original,
            date=notice.date,
            message_id=notice.message_id,
            arrival=notice.message.created_at,
            envid=notice.message.envid,
            return_full=notice.full,
            smtputf8=notice.message.smtputf8,
        )
    )


def _recipient(notice: Notice, judged: Judged) -> dsn.RecipientReport:
    attempt = judged.attempt
    return dsn.RecipientReport(
        address=_address(judged.recipient.recipient),
        action=dsn.Action(notice.action.value),
        status=attempt.reply.enhanced or f"{attempt.reply.code // 100}.0.0",
        orcpt=judged.recipient.orcpt,
        remote_mta=attempt.host or None,
        diagnostic=attempt.reply.text,
        from_remote=attempt.from_remote,
        last_attempt=attempt.started_at,
        retry_until=notice.retry_until,
    )


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except AddressSyntaxError as error:
        raise InvalidInput(f"the queue holds no address but {text!r}") from error
