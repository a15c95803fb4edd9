"""RFC 5228: the language, its tests and its actions, from the examples of the RFC."""

from __future__ import annotations

import pytest

from tests.unit.protocol.sieve.running import (
    MESSAGE_A,
    MESSAGE_B,
    actions,
    facts,
    holds,
    message,
    runtime_error,
    syntax_error,
)

EXTENDED = """
#
# Example Sieve Filter
# Declare any optional features or extension used by the script
#
require ["fileinto"];

#
# Handle messages from known mailing lists
# Move messages from IETF filter discussion list to filter mailbox
#
if header :is "Sender" "owner-ietf-mta-filters@imc.org"
        {
        fileinto "filter";  # move to "filter" mailbox
        }
#
# Keep all messages to or from people in my company
#
elsif address :DOMAIN :is ["From", "To"] "example.com"
        {
        keep;               # keep in "In" mailbox
        }

#
# Try and catch unsolicited email.  If a message is not to me,
# or it contains a subject known to be spam, file it away.
#
elsif anyof (NOT address :all :contains
               ["To", "Cc", "Bcc"] "me@example.com",
             header :matches "subject"
               ["*make*money*fast*", "*university*dipl*mas*"])
        {
        fileinto "spam";   # move to "spam" mailbox
        }
else
        {
        # Move all other (non-company) mail to "personal"
        # mailbox.
        fileinto "personal";
        }
"""


def test_rfc_5228_2_3_comments() -> None:
    assert actions("if size :over 100k { # this is a comment\n discard;\n}") == ["implicit keep"]
    script = "if size :over 100K { /* this is a comment\n still a comment */ discard /* this is a comment\n */ ;\n}"
    assert actions(script) == ["implicit keep"]


def test_rfc_5228_2_4_1_numbers_have_quantifiers() -> None:
    big = message("Subject: x", body="x" * 1024)
    assert holds("size :over 1K", big)
    assert not holds("size :over 1M", big)
    assert holds("size :under 1G", big)
    assert "too large" in syntax_error("if size :over 99999999999G { stop; }").reason


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("$${hex:40}", "$@"),
        ("${hex: 40 }", "@"),
        ("${HEX: 40}", "@"),
        ("${hex:40", "${hex:40"),
        ("${hex:400}", "${hex:400}"),
        ("${hex:4${hex:30}}", "${hex:40}"),
        ("${unicode:40}", "@"),
        ("${ unicode:40}", "${ unicode:40}"),
        ("${UNICODE:40}", "@"),
        ("${UnICoDE:0000040}", "@"),
        ("${Unicode:40}", "@"),
        ("${Unicode:Cool}", "${Unicode:Cool}"),
        ("${hex:40 41}${unicode:20ac e9}", "@A€é"),
        ("${hex:c3 a9}", "é"),
    ],
)
def test_rfc_5228_2_4_2_4_encoded_characters(written: str, meant: str) -> None:
    assert actions(f'require ["fileinto", "encoded-character"]; fileinto "x{written}";') == [f"fileinto x{meant}"]


@pytest.mark.parametrize("written", ["${unicode:200000}", "${Unicode:DF01}", "${Unicode:DF01 40}"])
def test_rfc_5228_2_4_2_4_no_character_is_an_error(written: str) -> None:
    assert "no character" in syntax_error(f'require ["fileinto", "encoded-character"];\nfileinto "{written}";').reason


def test_rfc_5228_2_4_2_strings() -> None:
    assert actions(r'require "fileinto"; fileinto "a\"b\\c\d";') == ['fileinto a"b\\cd']
    script = 'require "fileinto";\nif header :is "X" text: # words\nab\n..c\n.\n{ fileinto "found"; }'
    assert actions(script, b"X: ab\r\n .c\r\n\r\n") == ["implicit keep"]
    assert actions('require "fileinto"; fileinto text:\n..dot\n.\n;') == ["fileinto .dot\r\n"]


def test_rfc_5228_2_4_2_2_headers_are_decoded() -> None:
    octets = message("Subject: =?iso-8859-1?q?caf=E9?= =?utf-8?b?4oKs?=")
    assert holds('header :is "subject" "café€"', octets)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ('header :contains "Subject" "MAKE MONEY FAST"', False),
        ('header :contains "Subject" "PRESENT"', True),
        ('header :contains :comparator "i;octet" "Subject" "PRESENT"', False),
        ('header :is "Subject" "I have a present for you"', True),
        ('header :is "Subject" "present"', False),
        ('header :matches "Subject" "*present*"', True),
        ('header :matches "Subject" "I ???? a*you"', True),
        ('header :matches "Subject" "I ??? a*you"', False),
        ('header :matches "Subject" "*"', True),
        ('header :matches "X-None" "*"', False),
        ('header :contains "Subject" ""', True),
        ('header :contains "X-None" ""', False),
        ('header :is ["X-None", "subject"] ["no", "i HAVE a present for you"]', True),
    ],
)
def test_rfc_5228_2_7_match_types_and_comparators(test: str, expected: bool) -> None:
    assert holds(test) is expected


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        (r"\\*", "*", True),
        (r"\\*", "a", False),
        (r"\\?", "?", True),
        (r"a\\\\b", "a\\b", True),
        ("*a*b*c", "xaybzc", True),
        ("*a*b*c", "xcybza", False),
        ("a*a", "a", False),
        ("", "", True),
        ("**", "", True),
        ("?*?", "x", False),
        ("?*?", "xy", True),
    ],
)
def test_rfc_5228_2_7_1_wildcards(pattern: str, value: str, expected: bool) -> None:
    assert holds(f'header :matches "X" "{pattern}"', message(f"X: {value}")) is expected


def test_rfc_5228_2_7_4_address_parts() -> None:
    assert holds('address :all :is "From" "coyote@desert.example.org"')
    assert holds('address :localpart :is "From" "COYOTE"')
    assert holds('address :domain :is "From" "desert.example.org"')
    assert holds('address :is :all "from" "tim@example.com"', message("From: Tim <tim@example.com>"))
    assert not holds('address :is "from" "Tim"', message("From: Tim <tim@example.com>"))


def test_rfc_5228_3_1_if_elsif_else() -> None:
    script = """
    require "fileinto";
    if header :contains "from" "coyote" { discard; }
    elsif header :contains ["subject"] ["$$$"] { discard; }
    else { fileinto "INBOX"; }
    """
    assert actions(script, MESSAGE_A) == ["discard"]
    assert actions(script, MESSAGE_B) == ["discard"]
    assert actions(script, message("From: x@y.example", "Subject: z")) == ["fileinto INBOX"]


def test_rfc_5228_3_1_redirect_by_subject() -> None:
    script = """
    if header ["From"] ["coyote"] { redirect "acm@example.com"; }
    elsif header :contains "Subject" "$$$" { redirect "postmaster@example.com"; }
    else { redirect "field@example.com"; }
    """
    assert actions(script, MESSAGE_A) == ["redirect field@example.com"]
    assert actions(script, MESSAGE_B) == ["redirect postmaster@example.com"]


def test_rfc_5228_3_3_stop_ends_the_script() -> None:
    assert actions('require "fileinto"; fileinto "a"; stop; fileinto "b";') == ["fileinto a"]
    assert actions("stop; discard;") == ["implicit keep"]


def test_rfc_5228_4_actions() -> None:
    assert actions('if header :contains "subject" "present" { keep; } else { discard; }') == ["keep"]
    assert actions('redirect "bart@example.com";') == ["redirect bart@example.com"]
    assert actions('require "fileinto"; if header :contains "from" "coyote" { fileinto "INBOX.harassment"; }') == [
        "fileinto INBOX.harassment"
    ]
    assert actions('if header :contains ["from"] ["idiot@example.com"] { discard; }') == ["implicit keep"]
    assert actions("discard; keep;") == ["discard", "keep"]


def test_rfc_5228_2_10_2_no_action_keeps() -> None:
    assert actions("") == ["implicit keep"]


def test_rfc_5228_2_10_3_the_same_action_counts_once() -> None:
    assert actions('require "fileinto"; fileinto "a"; fileinto "a"; keep; keep;') == ["fileinto a", "keep"]


def test_rfc_5228_5_1_address_takes_address_fields_only() -> None:
    assert "no addresses" in syntax_error('if address :is "subject" "x" { stop; }').reason


def test_rfc_5228_5_2_and_5_3_allof_and_anyof() -> None:
    assert holds("allof (true, true)")
    assert not holds("allof (true, false)")
    assert holds("anyof (false, true)")
    assert not holds("anyof (false, false)")
    assert holds("not anyof (false, not true)")


def test_rfc_5228_5_4_envelope() -> None:
    test = 'envelope :all :is "from" "tim@example.com"'
    assert holds(test, known=facts(sender="tim@example.com"), require="envelope")
    assert not holds(test, require="envelope")
    assert holds('envelope :domain "to" "acme.example.com"', require="envelope")


def test_rfc_5228_5_4_the_null_reverse_path_is_empty_in_all_parts() -> None:
    null = facts(sender="")
    for part in (":all", ":localpart", ":domain"):
        assert holds(f'envelope {part} :is "from" ""', known=null, require="envelope")


def test_rfc_5228_5_5_exists() -> None:
    assert holds('not exists ["From", "Date", "X-None"]')
    assert holds('exists ["From","Date"]')


def test_rfc_5228_5_7_header_fields_are_trimmed_and_unfolded() -> None:
    octets = b"X-Caffeine:  C8H10\r\n N4O2  \r\n\r\n"
    assert holds('header :is "x-caffeine" ["C8H10 N4O2"]', octets)
    assert not holds('header :is ["x-caffeine"] [""]', octets)
    assert holds('header :contains ["x-caffeine"] [""]', octets)


def test_rfc_5228_5_9_size() -> None:
    octets = message("Subject: x", body="")
    assert not holds(f"size :over {len(octets)}", octets)
    assert not holds(f"size :under {len(octets)}", octets)
    assert holds(f"size :over {len(octets) - 1}", octets)


def test_rfc_5228_9_extended_example() -> None:
    assert actions(EXTENDED, message("From: boss@example.com", "To: me@example.com", "Subject: hi")) == ["keep"]
    assert actions(EXTENDED, MESSAGE_B) == ["fileinto spam"]
    assert actions(EXTENDED, message("Sender: owner-ietf-mta-filters@imc.org")) == ["fileinto filter"]
    to_me = message("From: a@b.example", "To: me@example.com.example", "Cc: me@example.com", "Subject: hi")
    assert actions(EXTENDED, to_me) == ["fileinto personal"]


@pytest.mark.parametrize(
    ("script", "line", "words"),
    [
        ("keep", 1, "semicolon"),
        ("\n\nfrobnicate;", 3, "frobnicate"),
        ('keep;\nfileinto "x";', 2, 'require "fileinto"'),
        ('keep;\nrequire "fileinto";', 2, "before all other"),
        ('require "no-such";', 1, "no-such"),
        ("else { keep; }", 1, "without an if"),
        ("if true { keep; } else { stop; } elsif true { stop; }", 1, "after else"),
        ("if true keep;", 1, "block"),
        ('if header "a" { keep; }', 1, "2 arguments"),
        ('if header :is :contains "a" "b" { keep; }', 1, "exclude each other"),
        ('if header :is :is "a" "b" { keep; }', 1, "twice"),
        ('if header "a" :is "b" { keep; }', 1, "before"),
        ('if header :comparator "i;none" "a" "b" { keep; }', 1, "not known"),
        ('redirect "nobody at all";', 1, "not an address"),
        ('\n"string";', 2, "a command"),
        ('redirect "a@b.example', 1, "closing quote"),
        ("/* no end", 1, "no end"),
        ("if not { keep; }", 1, "one test"),
        ("keep {}", 1, "no block"),
        ("if size 5 { keep; }", 1, ":over or :under"),
        ("require 5;", 1, "list of extensions"),
        ("\x07", 1, "control"),
    ],
)
def test_rfc_5228_2_10_6_errors_name_the_line(script: str, line: int, words: str) -> None:
    error = syntax_error(script)
    assert error.line == line
    assert words in error.reason


def test_rfc_5228_2_10_5_fifteen_nested_blocks_work_and_a_hundred_do_not() -> None:
    assert actions("if true { " * 15 + "discard;" + " }" * 15) == ["discard"]
    assert actions("if " + "not " * 14 + "true { discard; }") == ["discard"]
    assert "nested" in syntax_error("if true { " * 100 + "}" * 100).reason
    assert "nested" in syntax_error("if " + "not " * 5000 + "true { keep; }").reason
    assert "nested" in syntax_error("if " + "anyof (" * 5000).reason


def test_rfc_5228_10_redirects_are_limited() -> None:
    script = "".join(f'redirect "a{n}@b.example";\n' for n in range(5))
    error = runtime_error(script)
    assert (error.line, "redirects" in error.reason) == (5, True)


def test_a_script_that_costs_too_much_is_stopped() -> None:
    keys = ", ".join(f'"{n}*x?y*"' for n in range(1500))
    test = f'if header :matches "X" [{keys}] {{ discard; }}\n'
    error = runtime_error(test * 10, message("X: " + "x" * 50_000))
    assert "stopped" in error.reason


def test_a_pattern_of_question_marks_is_bounded() -> None:
    pattern = "*" + "a?" * 2000 + "*b"
    error = runtime_error(f'if header :matches "X" "{pattern}" {{ discard; }}', message("X: " + "a" * 90_000))
    assert "too long" in error.reason


def test_question_marks_are_sought_without_backtracking() -> None:
    test = 'if header :matches "X" "*a?a?a?b*" { discard; }\n'
    assert "stopped" in runtime_error(test * 2000, message("X: " + "a" * 90_000)).reason


def test_patterns_of_a_script_are_counted() -> None:
    test = 'if header :regex "X" "a+" { discard; }\n'
    assert "regular expressions" in syntax_error('require "regex";\n' + test * 201).reason
