"""An SMTP reply as a value: ours to send, or a remote's as received (RFC 5321 §4.2, RFC 3463)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply.

    Attributes:
        code: 200 to 599.
        enhanced: The enhanced status code such as `5.1.1`, empty where there is none.
        lines: Text of each line without code and enhanced code; never empty.
    """

    code: int
    enhanced: str = ""
    lines: tuple[str, ...] = ("",)

    @property
    def is_success(self) -> bool:
        return 200 <= self.code < 400

    @property
    def is_temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500

    @property
    def text(self) -> str:
        """All lines in one, as traces and DSNs show them: `550 5.1.1 no such user`."""
        words = " ".join(line for line in self.lines if line)
        return " ".join(part for part in (str(self.code), self.enhanced, words) if part)


def reply(code: int, enhanced: str, *lines: str) -> Reply:
    """Make a reply of ours."""
    return Reply(code=code, enhanced=enhanced, lines=lines or ("",))
