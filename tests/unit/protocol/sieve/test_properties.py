"""Whatever the octets: a compiled script and an outcome, or one of the two errors."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from server.protocol.sieve.compile import EXTENSIONS, Unanswered, compile_script, run_script
from server.protocol.sieve.errors import SieveRuntimeError, SieveSyntaxError
from server.protocol.sieve.glob import compile_glob
from server.protocol.sieve.view import Octets
from tests.unit.protocol.sieve.running import MESSAGE_B, facts

_WORDS = [
    *("if", "elsif", "else", "keep", "discard", "stop", "fileinto", "redirect", "set", "vacation", "notify", "include"),
    *("header", "address", "envelope", "body", "date", "currentdate", "exists", "size", "string", "hasflag", "not"),
    *("anyof", "allof", "true", "duplicate", "environment", "addheader", "deleteheader", "reject", "addflag", "global"),
    *(":is", ":contains", ":matches", ":regex", ":value", ":count", ":comparator", ":over", ":index", ":last", ":copy"),
    *(":days", ":mime", ":text", ":content", ":zone", ":detail", ":create", ":flags", ":lower", ":length", ":once"),
    *('"subject"', '"from"', '"*a*"', '"${1}"', '"${x}"', '"x"', '"a@b.example"', '"gt"', '"year"', '"mailto:a@b.c"'),
    *('"i;octet"', '"i;ascii-numeric"', "5", "1K", "{", "}", "(", ")", "[", "]", ",", ";", '"\\\\Seen"', '"(a+)+$"'),
]
_REQUIRE = f"require [{', '.join(f'{chr(34)}{name}{chr(34)}' for name in EXTENSIONS)}];\n"


def _try(script: bytes, octets: bytes) -> None:
    with suppress(SieveSyntaxError, SieveRuntimeError):
        found = run_script(compile_script(script), facts(), Octets(prefix=b"Received: a\r\n", octets=octets))
        assert isinstance(found, Unanswered) or found.work >= 0


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets(script: bytes) -> None:
    _try(script, MESSAGE_B)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=25), st.binary(max_size=200))
def test_any_words_on_any_message(words: list[str], octets: bytes) -> None:
    _try((_REQUIRE + " ".join(words)).encode(), octets)


_COMMANDS = [
    'if header :matches "subject" "*{t}*" {{ set "x" "${{1}}${{2}}"; fileinto "${{x}}"; }}',
    'if address :regex "from" "(.*)@{t}" {{ redirect "${{1}}@b.example"; }}',
    'if body :contains "{t}" {{ addheader "X-A" "${{x}}{t}"; keep; }}',
    'deleteheader :matches "subject" "{t}";',
    'if date :value "ge" :zone "+1400" "date" "iso8601" "{t}" {{ addflag "${{0}} {t}"; }}',
    'if not string :count "gt" "${{x}}" "{t}" {{ vacation :subject "{t}" "${{x}}"; }}',
    'if duplicate :uniqueid "{t}" {{ discard; }}',
    'set :quotewildcard :upperfirst "x" "{t}${{x}}";',
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(_COMMANDS), max_size=8),
    st.text(max_size=10).filter(lambda text: '"' not in text and "\\" not in text),
    st.binary(max_size=300),
)
def test_whole_commands_with_any_text(commands: list[str], text: str, octets: bytes) -> None:
    script = _REQUIRE + "\n".join(command.format(t=text) for command in commands)
    _try(script.encode("utf-8", "replace"), octets)


def _slow_match(pattern: str, text: str) -> bool:
    """The definition, by trying everything."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_slow_match(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and _slow_match(pattern[1:], text[1:])


@settings(max_examples=500, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_a_pattern_matches_as_defined(pattern: str, text: str) -> None:
    found = compile_glob(pattern).match(text)
    assert (found is not None) is _slow_match(pattern, text)
    if found is not None:
        rest = iter(found)
        assert "".join(next(rest) if c in "*?" else c for c in pattern) == text
