"""RFC 5229: variables, from the examples of the RFC."""

from __future__ import annotations

import pytest

from tests.unit.protocol.sieve.running import MESSAGE_A, actions, message, runtime_error, syntax_error

REQUIRE = 'require ["variables", "fileinto", "regex"];'


def value(script: str, text: str, octets: bytes = MESSAGE_A) -> str:
    """What a string is after the script ran."""
    [found] = actions(f'{REQUIRE} {script} fileinto "={text}";', octets)
    return found.removeprefix("fileinto =")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("&%${}!", "&%${}!"),
        ("${doh!}", "${doh!}"),
        ("${company}", "ACME"),
        ("${COMPANY} Inc.", "ACME Inc."),
        ("${president, ${company} Inc.}", "${president, ACME Inc.}"),
        ("${BAD${Company}", "${BADACME"),
        ("${unset}.", "."),
        ("$${company}}", "$ACME}"),
        ("${0x1}", "${0x1}"),
    ],
)
def test_rfc_5229_3_references(written: str, meant: str) -> None:
    assert value('set "company" "ACME";', written) == meant


def test_rfc_5229_3_1_quoting_and_encoded_characters() -> None:
    assert value(r'set "a" "x\y";', r"\${a}") == "xy"
    script = 'require ["variables", "fileinto", "encoded-character"]; set "a" "v"; fileinto "${hex:24}{a}";'
    # Encoded characters are decoded first, so the reference is seen.
    assert actions(script) == ["fileinto v"]


def test_rfc_5229_3_2_match_variables() -> None:
    octets = message("List-ID: List for Dev <dev.lists.example.com>", "Subject: [acme-users] [fwd] version 1.0 is out")
    script = 'if header :matches "List-ID" "*<*@*" { fileinto "INBOX.lists.${2}"; stop; }'
    assert actions(f"{REQUIRE} {script}", octets) == ["implicit keep"]
    script = """
    if header :matches "Subject" "[*] *" { set "first" "${1}"; set "rest" "${2}"; }
    """
    assert value(script, "${first}|${rest}|${0}", octets) == (
        "acme-users|[fwd] version 1.0 is out|[acme-users] [fwd] version 1.0 is out"
    )


def test_rfc_5229_3_2_a_failed_match_changes_nothing_and_stars_are_short() -> None:
    script = """
    if string :matches "foobar" "*o*r" { set "one" "${1}-${2}"; }
    if string :matches "nothing" "x*" { stop; }
    """
    assert value(script, "${one}|${1}") == "f-oba|f"
    assert value('if string :matches "a.b.c.com" "*.*.com" { }', "${1}|${2}") == "a|b.c"
    assert value('if string :matches "frop" "?r?p" { }', "${1}${2}${3}|${9}") == "fo|"


def test_rfc_5229_3_2_match_variables_keep_the_case_of_the_value() -> None:
    assert value('if string :matches "FrOp-BaR" "f*-?a*" { }', "${0}|${1}|${2}|${3}") == "FrOp-BaR|rOp|B|R"


@pytest.mark.parametrize(
    ("modifiers", "expected"),
    [
        ("", "juMBlEd lETteRS"),
        (":length", "15"),
        (":lower", "jumbled letters"),
        (":upperfirst", "JuMBlEd lETteRS"),
        (":upperfirst :lower", "Jumbled letters"),
        (":lowerfirst :upper", "jUMBLED LETTERS"),
    ],
)
def test_rfc_5229_4_1_modifiers(modifiers: str, expected: str) -> None:
    assert value(f'set "a" "juMBlEd lETteRS"; set {modifiers} "b" "${{a}}";', "${b}") == expected


def test_rfc_5229_4_1_quotewildcard() -> None:
    script = r'set "a" "Rock*"; set :quotewildcard "b" "${a}?\\";'
    assert value(script, "${b}") == r"Rock\*\?" + "\\\\"
    assert value(r'set :quoteregex "b" "a.b*";', "${b}") == r"a\.b\*"


def test_rfc_5229_4_1_one_modifier_of_a_precedence() -> None:
    assert "exclude" in syntax_error(f'{REQUIRE} set :lower :upper "a" "b";').reason
    assert "twice" in syntax_error(f'{REQUIRE} set :lower :lower "a" "b";').reason


def test_rfc_5229_4_names_are_constant_identifiers() -> None:
    assert "variable" in syntax_error(f'{REQUIRE} set "0abc" "x";').reason
    assert "without variables" in syntax_error(f'{REQUIRE} set "${{a}}" "x";').reason
    assert "namespace" in syntax_error(f'{REQUIRE} fileinto "${{foo.bar}}";').reason


def test_rfc_5229_5_string_test() -> None:
    script = """
    set "state" "${state} pending";
    if string :matches " ${state} " "* pending *" { fileinto "yes"; }
    """
    assert actions(REQUIRE + script) == ["fileinto yes"]
    count = 'require ["variables", "relational", "comparator-i;ascii-numeric", "fileinto"];'
    test = 'if string :count "eq" :comparator "i;ascii-numeric" ["", "a", "${x}"] "1" { fileinto "one"; }'
    assert actions(count + test) == ["fileinto one"]


def test_rfc_5229_6_values_are_cut_and_variables_counted() -> None:
    doubling = 'set "a" "aaaaaaaaaaaaaaaa";' + 'set "a" "${a}${a}";' * 12 + 'set :length "n" "${a}";'
    assert value(doubling, "${n}") == "8192"
    many = "".join(f'set "v{n}" "x";' for n in range(300))
    assert "variables" in runtime_error(REQUIRE + many).reason
    long = 'set "a" "aaaaaaaaaaaaaaaa";' + 'set "a" "${a}${a}";' * 12 + f'fileinto "{"${a}" * 20}";'
    assert "too long" in runtime_error(REQUIRE + long).reason


def test_regex_sets_match_variables() -> None:
    octets = message("Subject: Order #1234 shipped")
    script = 'if header :regex "subject" "order #([0-9]+) (shipped|sent)" { }'
    assert value(script, "${0}|${1}|${2}", octets) == "Order #1234 shipped|1234|shipped"
    assert "regular expression" in syntax_error(f'{REQUIRE} if header :regex "a" "(" {{ stop; }}').reason
    assert "regular expression" in syntax_error(rf'{REQUIRE} if header :regex "a" "(a)\\1" {{ stop; }}').reason
    late = f'{REQUIRE}\nset "p" "(";\nif header :regex "subject" "${{p}}" {{ stop; }}'
    assert runtime_error(late).line == 3


def test_a_regex_of_nested_repeats_is_linear() -> None:
    octets = message("Subject: " + "a" * 5000 + "!")
    assert actions(f'{REQUIRE} if header :regex "subject" "^(a+)+$" {{ fileinto "x"; }}', octets) == ["implicit keep"]


def test_a_regex_too_large_for_a_long_text_is_not_tried() -> None:
    script = f'{REQUIRE} if header :regex "X" "(.{{1,1000}})x" {{ fileinto "x"; }}'
    assert actions(script, message("X: " + "ab" * 500)) == ["implicit keep"]
    assert "too large for a text of that length" in runtime_error(script, message("X: " + "ab" * 40_000)).reason


def test_a_regex_pays_for_what_it_really_cost() -> None:
    # Its states do not fit into the memory of a program: each character takes a thousand times the usual.
    test = 'if header :regex "X" "(.{1,1000})x" { fileinto "x"; }\n'
    assert "stopped" in runtime_error(REQUIRE + test * 50, message("X: " + "ab" * 3_000)).reason
