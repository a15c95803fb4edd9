"""What EHLO lists on each port (RFC 5321 §4.1.1.1).

- AUTH only where a login is possible and hidden from listeners: never on port 25, never before TLS on 587.
- CHUNKING and REQUIRETLS are not offered, so BDAT is refused and the connection closed.
"""

from __future__ import annotations

from server.domain.reply import Reply, reply
from server.smtp.contracts import Listener
from server.smtp.settings import SmtpSettings

AUTH_MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER")


def auth_offered(listener: Listener, *, tls: bool) -> bool:
    """Whether a client may log in here and now (RFC 4954 §4, RFC 8314 §3.3)."""
    return listener is not Listener.SMTP and tls


def ehlo_reply(
    listener: Listener, settings: SmtpSettings, *, helo: str, tls: bool, tls_available: bool, logged_in: bool
) -> Reply:
    """The list for one client: RFC 2920, 1870, 6152, 6531, 2034, 3461, 3207, 9422, 4954."""
    lines = [
        f"{settings.hostname} greets {helo}",
        "PIPELINING",
        f"SIZE {settings.max_message_size}",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "DSN",
        f"LIMITS RCPTMAX={settings.max_recipients}",
    ]
    if tls_available and not tls and listener is not Listener.SUBMISSIONS:
        lines.append("STARTTLS")
    if auth_offered(listener, tls=tls) and not logged_in:
        lines.append("AUTH " + " ".join(AUTH_MECHANISMS))
    return reply(250, "", *lines)
