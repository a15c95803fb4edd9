"""server.config.load: every fault with its line, none with a secret (config.md §1, §2)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.config import schema
from server.config.load import ConfigError, Loaded, find, load, parse

HOST = "server: {hostname: mail.example.test}\n"


def faults(text: str, **environ: str) -> list[str]:
    """The fault lines of a text, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse(text, environ=environ, system_hostname="mail.example.test")
    return [line.removeprefix("config.yaml:").strip() for line in caught.value.lines()]


def good(text: str, **environ: str) -> Loaded:
    return parse(text, environ=environ, system_hostname="mail.example.test")


def test_an_empty_file_gives_the_defaults() -> None:
    settings = good("").settings
    assert settings.server.hostname == "mail.example.test"
    assert settings.smtp.max_message_size == 52_428_800
    assert settings.queue.retry_delays == (300.0, 600.0, 1200.0, 2400.0, 3600.0)
    assert settings.database.url.reveal() == "sqlite:////var/lib/mairust/db/mairust.db"


def test_an_unknown_key_is_named_with_its_line_and_a_suggestion() -> None:
    assert faults("server:\n  hostname: a.example\n  smtp_prot: 25\n") == [
        "3: server.smtp_prot: unknown key (did you mean smtp_port?)"
    ]


def test_an_unknown_section_is_named() -> None:
    assert faults("smpt: {}\n") == ["1: smpt: unknown key (did you mean smtp?)"]


def test_all_faults_are_listed_in_the_order_of_lines() -> None:
    text = """
server:
  smtp_port: twenty-five
  bind: [127.0.0.1, nowhere]
smtp:
  max_recipients: 5
  command_timeout: 5 minutes
  require_tls: yes
queue: 7
log:
  levels: {smtpd: debug}
"""
    lines = faults(text)
    assert [line.split(":")[0] for line in lines] == ["3", "4", "6", "7", "8", "9", "11"]
    assert lines[0] == "3: server.smtp_port: must be a whole number, not 'twenty-five'"
    assert lines[1] == "4: server.bind: item 2 must be an IP address, not 'nowhere'"
    assert lines[2] == "6: smtp.max_recipients: must be from 100 to 10000, not 5"
    assert lines[4] == "8: smtp.require_tls: must be true or false, not 'yes'"
    assert lines[5] == "9: queue: must be a map of keys"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("5m", 300.0), ("1h", 3600.0)])
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert good(f"smtp: {{command_timeout: {text}}}").settings.smtp.command_timeout == seconds


@pytest.mark.parametrize("text", ["5 m", "-5", "1.5h", "5M", "", "null", "[5]", "1y"])
def test_a_bad_duration_is_refused(text: str) -> None:
    assert faults(f"smtp: {{command_timeout: {text}}}")


@pytest.mark.parametrize(
    ("text", "octets"), [("65536", 65536), ("64KiB", 65536), ("50MiB", 52428800), ("1GiB", 1 << 30)]
)
def test_sizes_are_octets(text: str, octets: int) -> None:
    assert good(f"smtp: {{max_message_size: {text}}}").settings.smtp.max_message_size == octets


def test_yaml_1_2_off_is_a_string() -> None:
    assert good("dns: {dnssec: off}").settings.dns.dnssec == "off"


def test_a_tls_version_may_be_written_as_a_number() -> None:
    assert good("tls: {min_version: 1.3}").settings.tls.min_version == "1.3"


def test_a_duplicate_key_is_refused_with_both_lines() -> None:
    assert faults("smtp:\n  max_hops: 30\n  max_hops: 40\n") == ["3: smtp: max_hops: given twice, first in line 2"]


def test_text_that_is_not_yaml_is_one_fault_with_its_line() -> None:
    (line,) = faults("server:\n  hostname: [a\n")
    assert line.split(":")[0] in {"2", "3"}
    assert "not YAML" in line


@pytest.mark.parametrize("text", ["[" * 5000, "a: !!python/object:os.system x", "? {a: b}\n: c", "--- 1\n--- 2\n", "x"])
def test_odd_yaml_is_a_fault_and_never_an_error_of_ours(text: str) -> None:
    assert faults(text)


def test_an_anchor_may_be_used_again() -> None:
    text = "smtp: {command_timeout: &t 7m, data_timeout: *t}"
    assert good(text).settings.smtp.data_timeout == 420.0


def test_networks_and_resolvers_are_read() -> None:
    settings = good("dns: {resolvers: ['127.0.0.1:5353', '::1', '[::1]:53']}\nmetrics: {allow: [10.0.0.0/8]}").settings
    assert settings.dns.resolvers == ("127.0.0.1:5353", "::1", "[::1]:53")
    assert str(settings.metrics.allow[0]) == "10.0.0.0/8"


def test_paths_follow_the_state_folder_unless_they_are_set() -> None:
    settings = good("server: {state_dir: /srv/m}\n").settings
    assert settings.database.url.reveal() == "sqlite:////srv/m/db/mairust.db"
    assert settings.storage.path == Path("/srv/m/mail")
    settings = good("server: {state_dir: /srv/m}\nstorage: {path: /blobs}\n").settings
    assert settings.storage.path == Path("/blobs")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("server: {hostname: mail}", "server.hostname: must be a fully qualified name, not 'mail'"),
        ("server: {smtp_port: 587}", "server.submission_port: port 587 is already taken by server.smtp_port"),
        ("server: {api_bind: [0.0.0.0]}", "server.api_bind: 0.0.0.0 is not loopback: needs api.allow_plaintext: true"),
        ("database: {url: 'postgres://h/d'}", "database.url: is a postgres URL but database.type is sqlite"),
        ("database: {type: postgres}", "database.url: is a sqlite URL but database.type is postgres"),
        ("database: {url: 'sqlite:///x.db'}", "database.url: must be sqlite:////, followed by the rest of"),
        ("queue: {expire_after: 30m}", "queue.expire_after: must be more than the first 4 delays together, 4500s"),
        ("tls: {cert_path: /x}", "tls.key_path: cert_path and key_path go together: set both or none"),
        ("outbound: {relay: {port: 25}}", "outbound.relay.host: is required"),
        (
            "outbound: {relay: {host: r.example, username: u}}",
            "outbound.relay.username: username and password go toget",
        ),
    ],
)
def test_rules_across_keys(text: str, fault: str) -> None:
    assert any(fault in line for line in faults(text))


def test_a_rule_is_silent_about_a_key_that_is_faulty_already() -> None:
    (line,) = faults("database: {type: mysql, url: 'postgres://h/d'}")
    assert "database.type: must be one of" in line


def test_two_ports_that_are_off_do_not_collide() -> None:
    assert good("server: {smtp_port: 0, imap_port: 0}").settings.server.imap_port == 0


def test_a_relay_is_read() -> None:
    relay = good("outbound: {relay: {host: R.example., tls: implicit, port: 465}}").settings.outbound.relay
    assert relay is not None
    assert (relay.host, relay.port, relay.tls) == ("r.example", 465, "implicit")


def test_a_state_folder_with_odd_characters_is_quoted_in_the_url() -> None:
    settings = good('server: {state_dir: "/srv/a b?c%"}').settings
    assert settings.database.url.reveal() == "sqlite:////srv/a%20b%3Fc%25/db/mairust.db"


def test_every_component_that_logs_may_have_a_level() -> None:
    code = "".join(path.read_text() for path in Path(schema.__file__).parents[1].rglob("*.py"))
    used = set(re.findall(r'get_logger\("([^"]+)"\)', code))
    assert used <= schema.COMPONENTS


def test_find_prefers_the_named_file_and_refuses_a_missing_one(tmp_path: Path) -> None:
    there = tmp_path / "c.yaml"
    there.write_text(HOST)
    assert find(there, {}) == there
    assert find(None, {"MAIRUST_CONFIG": str(there)}) == there
    with pytest.raises(ConfigError, match=r"missing.yaml"):
        find(tmp_path / "missing.yaml", {})
    with pytest.raises(ConfigError):
        find(None, {"MAIRUST_CONFIG": str(tmp_path / "missing.yaml")})


@pytest.mark.parametrize(
    ("data", "fault"), [(b"a: b\n\xff", ":2: not UTF-8"), (b"#" * (1 << 20) + b"\n", "larger than")]
)
def test_a_file_that_is_no_text_of_ours(tmp_path: Path, data: bytes, fault: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert fault in caught.value.lines()[0]


def test_no_file_is_setup_mode_with_the_systems_name() -> None:
    assert load(None, {}).path is None
