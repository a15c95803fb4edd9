"""Personal filters: rules of conditions and actions, written as a Sieve script and run like any other.

- All rules that match act, in their order, until one says `stop`; the first that moves the mail wins.
- `$Junk` mail is left alone by a rule unless it says `include_junk`.
- What a rule can't say is refused when it is written, with a pointer to it.

filtering.md sections 5.2, 5.3, 7.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from server.domain.errors import InvalidInput
from server.protocol.sieve.commands import one_address
from server.protocol.sieve.compile import compile_script
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.flags import flag_list
from server.protocol.sieve.regex import PatternError, compile_regex
from server.services.identity.writer import Input

RULES_MAX = 100
CONDITIONS_MAX = 32
ACTIONS_MAX = 16
VALUES_MAX = 1_000
VALUE_MAX = 1_000
REDIRECTS_MAX = 4
"""Addresses one rule may redirect to: a run of Sieve takes no more."""
JUNK_ITEM = "vnd.mairust.junk"
"""Environment item of a run: `yes` for mail that a verdict sends to Junk."""
ATTACHMENTS_ITEM = "vnd.mairust.attachments"
"""Environment item of a run: `yes` for mail with attachments."""


class MatchWord(StrEnum):
    ALL = "all"
    ANY = "any"


class Condition(Input, frozen=True, kw_only=True):
    """One condition; `value` depends on the type: text, a list, a number, a flag, or `{header, value}`."""

    type: str
    operator: str | None = None
    value: str | int | bool | list[str] | dict[str, str | int | list[str]] | None = None
    negate: bool = False
    case_sensitive: bool = False


class Parameters(Input, frozen=True, kw_only=True):
    mailbox: str | None = None
    tags: list[str] | None = None
    addresses: list[str] | None = None
    keep_copy: bool = False


class RuleAction(Input, frozen=True, kw_only=True):
    type: str
    parameters: Parameters | None = None


class Rule(Input, frozen=True, kw_only=True):
    """A rule without conditions matches all mail, which `match_all` must confirm."""

    name: str
    enabled: bool = True
    match: MatchWord = MatchWord.ALL
    conditions: list[Condition] = msgspec.field(default_factory=list)
    match_all: bool = False
    actions: list[RuleAction]
    stop: bool = False
    include_junk: bool = False


_rules = msgspec.json.Decoder(list[Rule])
_REQUIRE = (
    "body envelope environment fileinto imap4flags copy mailbox special-use variables regex "
    "comparator-i;unicode-casemap"
)
_TEXT_TESTS = {
    "sender_address": 'envelope :all {match} "from" {keys}',
    "sender_domain": 'envelope :domain {match} "from" {keys}',
    "recipient_address": 'envelope :all {match} "to" {keys}',
    "recipient_domain": 'envelope :domain {match} "to" {keys}',
    "from_address": 'address :all {match} "from" {keys}',
    "from_domain": 'address :domain {match} "from" {keys}',
    "subject": 'header {match} "subject" {keys}',
    "body_text": "body :text {match} {keys}",
}
_NUMBER = re.compile(r"[0-9]{1,15}")
_FLAG_TESTS = {
    "is_list": 'exists "list-id"',
    "is_automatic": 'allof (exists "auto-submitted", not header :matches "auto-submitted" ["no", "no;*"])',
    "has_attachments": f'environment :is "{ATTACHMENTS_ITEM}" "yes"',
}


def decode_rules(stored: str) -> list[Rule]:
    """Rules as their column holds them; rules that do not decode any more are none."""
    try:
        return _rules.decode(stored)
    except msgspec.ValidationError:
        return []


def encode_rules(rules: Sequence[Rule]) -> str:
    return msgspec.json.encode(list(rules)).decode()


def check_rules(rules: Sequence[Rule]) -> None:
    """Raise InvalidInput, its pointer at what is wrong, when rules can't run."""
    if len(rules) > RULES_MAX:
        raise InvalidInput(f"at most {RULES_MAX} rules", pointer="/rules")
    for place, rule in enumerate(rules):
        _check_rule(rule, f"/rules/{place}")
    try:
        compile_script(rules_script(rules))
    except SieveSyntaxError as error:
        raise InvalidInput(f"the rules are too much together: {error.reason}", pointer="/rules") from error


def rules_script(rules: Sequence[Rule]) -> bytes:
    """The Sieve script that does what the rules say; disabled ones are left out. Raises InvalidInput."""
    names = ", ".join(f'"{name}"' for name in _REQUIRE.split())
    lines = [f"require [{names}];", 'set "dollar" "$";']
    for place, rule in enumerate(rules):
        if rule.enabled:
            lines += _rule_lines(rule, f"/rules/{place}")
    lines += [
        'if string :is "${trash}" "1" { fileinto :specialuse "\\\\Trash" "Trash"; }',
        'elsif not string :is "${mailbox}" "" { fileinto :create "${mailbox}"; }',
    ]
    return "\n".join(lines).encode()


def _check_rule(rule: Rule, pointer: str) -> None:
    if not 1 <= len(rule.name) <= 100 or not rule.name.isprintable():
        raise InvalidInput("a name of 1 to 100 characters", pointer=f"{pointer}/name")
    if len(rule.conditions) > CONDITIONS_MAX:
        raise InvalidInput(f"at most {CONDITIONS_MAX} conditions", pointer=f"{pointer}/conditions")
    if not rule.conditions and not rule.match_all:
        raise InvalidInput("without conditions it matches all mail: confirm with match_all", pointer=pointer)
    if not 1 <= len(rule.actions) <= ACTIONS_MAX:
        raise InvalidInput(f"1 to {ACTIONS_MAX} actions", pointer=f"{pointer}/actions")
    # Disabled rules must be right too: they may be enabled.
    _rule_lines(rule, pointer)


def _rule_lines(rule: Rule, pointer: str) -> list[str]:
    tests = [_condition(one, f"{pointer}/conditions/{place}") for place, one in enumerate(rule.conditions)]
    joined = ", ".join(tests) or "true"
    guards = ['not string :is "${stopped}" "1"']
    if not rule.include_junk:
        guards.append(f'not environment :is "{JUNK_ITEM}" "yes"')
    word = "allof" if rule.match is MatchWord.ALL or not tests else "anyof"
    body = [_action(one, f"{pointer}/actions/{place}") for place, one in enumerate(rule.actions)]
    if rule.stop:
        body.append('set "stopped" "1";')
    return [f"if allof ({', '.join(guards)}, {word} ({joined})) {{", *body, "}"]


# --- conditions


def _condition(condition: Condition, pointer: str) -> str:
    kind = condition.type
    if kind in _TEXT_TESTS:
        test = _text_test(_TEXT_TESTS[kind], condition, condition.value, pointer, is_domain=kind.endswith("_domain"))
    elif kind in _FLAG_TESTS:
        if condition.operator not in (None, "eq") or not isinstance(condition.value, bool):
            raise InvalidInput("takes true or false, by eq", pointer=f"{pointer}/value")
        test = _FLAG_TESTS[kind] if condition.value else f"not {_FLAG_TESTS[kind]}"
    elif kind == "header_exists":
        test = f"exists {_quoted(_name(condition.value, f'{pointer}/value'))}"
    elif kind == "header_value":
        value = condition.value
        if not isinstance(value, dict) or set(value) != {"header", "value"}:
            raise InvalidInput("takes an object of header and value", pointer=f"{pointer}/value")
        name = _quoted(_name(value["header"], f"{pointer}/value/header"))
        template = "header {match} " + name.replace("{", "{{").replace("}", "}}") + " {keys}"
        test = _text_test(template, condition, value["value"], f"{pointer}/value", is_domain=False)
    elif kind == "message_size":
        test = _size_test(condition, pointer)
    else:
        raise InvalidInput(f"a personal filter has no condition {kind[:40]!r}", pointer=f"{pointer}/type")
    return f"not {test}" if condition.negate else test


def _text_test(template: str, condition: Condition, value: object, pointer: str, *, is_domain: bool) -> str:
    keys = value if isinstance(value, list) else [value]
    if not 1 <= len(keys) <= VALUES_MAX or (isinstance(value, list) and condition.operator != "in"):
        raise InvalidInput(f"takes text, or for in a list of 1 to {VALUES_MAX}", pointer=f"{pointer}/value")
    texts = [_text(key, f"{pointer}/value") for key in keys]
    comparator = "i;octet" if condition.case_sensitive else "i;unicode-casemap"
    patterns: list[str] = []
    match condition.operator:
        case "eq" | "in":
            word, patterns = ":is", texts
        case "contains":
            word, patterns = ":contains", texts
        case "starts_with":
            word, patterns = ":matches", [_wild(text) + "*" for text in texts]
        case "ends_with":
            word, patterns = ":matches", ["*" + _wild(text) for text in texts]
        case "under" if is_domain:
            word, patterns = ":matches", [one for text in texts for one in (_wild(text), "*." + _wild(text))]
        case "regex":
            word, patterns = ":regex", texts
            _check_pattern(texts[0], f"{pointer}/value", ignore_case=not condition.case_sensitive)
        case _:
            raise InvalidInput("this condition has no such operator", pointer=f"{pointer}/operator")
    keys_text = "[" + ", ".join(_quoted(text) for text in patterns) + "]"
    return template.format(match=f'{word} :comparator "{comparator}"', keys=keys_text)


def _size_test(condition: Condition, pointer: str) -> str:
    value = condition.value
    if condition.operator == "between":
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(one.isdecimal() and one.isascii() for one in value)
        ):
            raise InvalidInput("takes two numbers", pointer=f"{pointer}/value")
        return f"not anyof (size :under {int(value[0][:18])}, size :over {int(value[1][:18])})"
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise InvalidInput("takes a number of octets", pointer=f"{pointer}/value")
    tests = {
        "gt": f"size :over {value}",
        "gte": f"not size :under {value}",
        "lt": f"size :under {value}",
        "lte": f"not size :over {value}",
        "eq": f"not anyof (size :under {value}, size :over {value})",
    }
    if condition.operator not in tests:
        raise InvalidInput("takes eq, gt, gte, lt, lte or between", pointer=f"{pointer}/operator")
    return tests[condition.operator]


def _check_pattern(pattern: str, pointer: str, *, ignore_case: bool) -> None:
    try:
        compile_regex(pattern, ignore_case=ignore_case)
    except PatternError as error:
        raise InvalidInput(f"not a regular expression: {error}", pointer=pointer) from error


# --- actions


def _action(action: RuleAction, pointer: str) -> str:
    given = action.parameters or Parameters()
    match action.type:
        case "move":
            if not given.mailbox or len(given.mailbox) > 255 or not given.mailbox.isprintable():
                raise InvalidInput("names a mailbox", pointer=f"{pointer}/parameters/mailbox")
            return f'if string :is "${{mailbox}}" "" {{ set "mailbox" {_quoted(given.mailbox)}; }}'
        case "trash":
            return 'if string :is "${mailbox}" "" { set "trash" "1"; set "mailbox" "Trash"; }'
        case "tag":
            tags = given.tags or []
            if not 1 <= len(tags) <= 20 or list(flag_list(tags)) != tags or any(tag.startswith("\\") for tag in tags):
                raise InvalidInput("1 to 20 tags, each an IMAP keyword", pointer=f"{pointer}/parameters/tags")
            return f"addflag [{', '.join(_quoted(tag) for tag in tags)}];"
        case "mark_seen":
            return 'addflag "\\\\Seen";'
        case "flag":
            return 'addflag "\\\\Flagged";'
        case "redirect":
            addresses = given.addresses or []
            if not 1 <= len(addresses) <= REDIRECTS_MAX or any(one_address(one) is None for one in addresses):
                raise InvalidInput(f"1 to {REDIRECTS_MAX} addresses", pointer=f"{pointer}/parameters/addresses")
            copy = " :copy" if given.keep_copy else ""
            return " ".join(f"redirect{copy} {_quoted(one)};" for one in addresses)
        case _:
            raise InvalidInput(f"a personal filter has no action {action.type[:40]!r}", pointer=f"{pointer}/type")


# --- strings


def _text(value: object, pointer: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= VALUE_MAX or "\0" in value or not _is_text(value):
        raise InvalidInput(f"takes text of 1 to {VALUE_MAX} characters", pointer=pointer)
    return value


def _is_text(value: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in value)


def _name(value: object, pointer: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 76 or any(not "!" <= c <= "~" or c == ":" for c in value):
        raise InvalidInput("takes a header field's name", pointer=pointer)
    return value


def _wild(text: str) -> str:
    return "".join("\\" + c if c in "*?\\" else c for c in text)


def _quoted(text: str) -> str:
    """A Sieve string that stands for exactly this text, `${` included."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "${dollar}{")
    return f'"{escaped}"'
