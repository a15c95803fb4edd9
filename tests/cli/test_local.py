"""Commands that work on this machine's files: config, setup, and the demo's own parts."""

from __future__ import annotations

import base64
import json
import socket
import stat
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mairust_cli import config_file, setup_steps
from mairust_cli.config_file import edited, get_key, load, set_key, unset_key
from mairust_cli.demo import daemon as demo_daemon
from mairust_cli.demo.folder import DemoFolder
from mairust_cli.demo.ports import PORTS, choose_ports, free_base
from mairust_cli.demo.roundtrip import RoundTrip, demo_message
from mairust_cli.exits import CliError, Exit
from tests.cli.conftest import Mairust, runner
from tests.cli.fake_api import PREFIX, FakeApi

CONFIG = """\
# Our server.
server:
  hostname: mail.example.com  # with its reverse name
smtp:
  # Bigger than the default.
  max_message_size: 100MiB
"""
_CHECKER = """\
#!/bin/sh
if grep -q nonsense "$3"; then echo "$3:2: server.nonsense: unknown key" >&2; exit 78; fi
echo good
"""


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for `mairustd` that refuses one word."""
    program = tmp_path / "mairustd"
    program.write_text(_CHECKER)
    program.chmod(0o755)
    monkeypatch.setattr(config_file, "mairustd", lambda environment: str(program))
    return program


@pytest.fixture
def config(tmp_path: Path, checker: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    path.chmod(0o640)
    return path


def test_set_keeps_comments_mode_and_the_old_version(mairust: Mairust, config: Path) -> None:
    result = mairust("config", "set", "smtp.max_recipients", "500", "--config", str(config))
    assert result.code == 0, result.err
    text = config.read_text()
    assert text.startswith(CONFIG)
    assert "max_recipients: 500" in text
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert [kept.read_text() for kept in (config.parent / "history").iterdir()] == [CONFIG]
    assert "needs a restart: server.smtp_port" in result.err


def test_a_refused_value_changes_nothing_and_names_the_line(mairust: Mairust, config: Path) -> None:
    result = mairust("config", "set", "server.nonsense", "1", "--config", str(config))
    assert result.code == 7
    assert "config.yaml:2: server.nonsense: unknown key" in result.err
    assert config.read_text() == CONFIG
    assert sorted(path.name for path in config.parent.iterdir() if "config" in path.name) == ["config.yaml"]


def test_dry_run_shows_the_difference_only(mairust: Mairust, config: Path) -> None:
    result = mairust("config", "set", "server.hostname", "mx.example.com", "--config", str(config), "--dry-run")
    assert "+  hostname: mx.example.com" in result.out
    assert config.read_text() == CONFIG


def test_get_show_and_unset(mairust: Mairust, config: Path) -> None:
    where = ("--config", str(config))
    assert mairust("config", "get", "server.hostname", *where).out == "mail.example.com\n"
    assert mairust("config", "get", "server.bind", *where).code == 3
    assert mairust("config", "show", *where).out == CONFIG
    assert json.loads(mairust("config", "show", "--json", *where).out)["smtp"]["max_message_size"] == "100MiB"
    assert json.loads(mairust("config", "show", "--effective", "--json").out)["server"]
    assert mairust("config", "unset", "smtp.max_message_size", *where).code == 0
    assert "smtp" not in YAML(typ="safe").load(config.read_text())
    assert mairust("config", "unset", "smtp.max_message_size", *where).code == 3


def test_only_twenty_versions_are_kept(mairust: Mairust, config: Path) -> None:
    for number in range(22):
        mairust("config", "set", "smtp.max_recipients", str(500 + number), "--config", str(config), "-q")
    assert len(list((config.parent / "history").iterdir())) == 20


def test_control_characters_are_refused(mairust: Mairust, config: Path) -> None:
    assert mairust("config", "set", "server.hostname", "a\x85b", "--config", str(config)).code == 7
    assert config.read_text() == CONFIG


def test_validate_prints_every_fault(mairust: Mairust, config: Path) -> None:
    assert mairust("config", "validate", "--config", str(config)).code == 0
    config.write_text("server:\n  nonsense: 1\n")
    result = mairust("config", "validate", "--config", str(config))
    assert result.code == 7
    assert "unknown key" in result.out


@pytest.mark.parametrize(
    "octets", [b"a: [", b"- 1\n", b"a: 1\na: 2\n", b"\xff", b"&a [*a]", b"a: !!python/object:os.x {}"]
)
def test_files_that_are_no_configuration_are_told_in_words(octets: bytes, mairust: Mairust, config: Path) -> None:
    config.write_bytes(octets)
    result = mairust("config", "set", "server.hostname", "x.example", "--config", str(config))
    assert result.code in (0, 7)
    assert "unexpected way" not in result.err


@given(value=st.one_of(st.integers(), st.booleans(), st.text(max_size=20).filter(str.isprintable)))
def test_edits_read_back(value: object) -> None:
    path = Path("config.yaml")
    text = edited(CONFIG, path, lambda document: set_key(document, "a.b_c.d", value))
    assert get_key(load(text, path), "a.b_c.d") == (True, value)
    back = edited(text, path, lambda document: unset_key(document, "a.b_c.d") and None)
    assert load(back, path) == load(CONFIG, path)
    assert "# Bigger than the default." in back


def test_setup_unattended_makes_file_key_domain_and_account(
    mairust: Mairust, api: FakeApi, tmp_path: Path, checker: Path
) -> None:
    answers = tmp_path / "answers.yaml"
    answers.write_text("hostname: mail.new.example\ndomain: new.example\naccount: anna@new.example\ngenerate: true\n")
    command = ("setup", "--config", str(tmp_path / "etc" / "config.yaml"), "--answers", str(answers))
    result = mairust(*command, "--socket", str(api.socket))
    assert result.code == 0, result.err
    written = YAML(typ="safe").load((tmp_path / "etc" / "config.yaml").read_text())
    assert written["server"]["hostname"] == "mail.new.example"
    key = tmp_path / "etc" / "master.key"
    assert len(base64.b64decode(key.read_bytes())) == 32
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert api.sent("POST", f"{PREFIX}/accounts")[0]["role"] == "owner"
    assert "password (shown once)" in result.out
    kept = (tmp_path / "etc" / "setup.yaml").read_text()
    assert "password" not in kept
    again = mairust(*command, "--socket", str(api.socket))
    assert again.code == 0
    assert again.out.count("there already") == 3
    assert len(api.sent("POST", f"{PREFIX}/domains")) == 1
    assert key.read_bytes() == (tmp_path / "etc" / "master.key").read_bytes()


def test_setup_without_a_daemon_does_its_part_and_says_how_to_go_on(
    tmp_path: Path, checker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lonely = runner({"PATH": "/usr/bin"}, monkeypatch)
    (tmp_path / "a.yaml").write_text("hostname: mail.new.example\ndomain: new.example\naccount: a@new.example\n")
    config = tmp_path / "config.yaml"
    result = lonely("setup", "--config", str(config), "--answers", str(tmp_path / "a.yaml"))
    assert result.code == 6
    assert "3 of 5 steps are done" in result.err
    assert f"mairustd run --config {config}" in result.err
    assert config.exists()


def test_setup_asks_and_offers_answers(mairust: Mairust, api: FakeApi, tmp_path: Path, checker: Path) -> None:
    typed = "mail.example.com\n\nanna@example.com\n"
    result = mairust("setup", "--config", str(tmp_path / "c.yaml"), "--socket", str(api.socket), tty=True, stdin=typed)
    assert result.code == 0, result.err
    assert "Mail domain [example.com]:" in result.err


def test_setup_asks_for_the_domain_only_when_the_daemon_answers(
    tmp_path: Path, checker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lonely = runner({"PATH": "/usr/bin"}, monkeypatch)
    result = lonely("setup", "--config", str(tmp_path / "c.yaml"), tty=True, stdin="mail.example.com\n")
    assert result.code == 6
    assert "Mail domain" not in result.err
    assert "3 of 5 steps are done" in result.err


def test_setup_without_root_chooses_ports_it_may_bind(
    tmp_path: Path, checker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_steps, "lowest_port", lambda: 1024)
    lonely = runner({"PATH": "/usr/bin"}, monkeypatch)
    command = ("setup", "--config", str(tmp_path / "c.yaml"))
    assert lonely(*command, tty=True, stdin="mail.example.com\n").code == 6
    written = YAML(typ="safe").load((tmp_path / "c.yaml").read_text())["server"]
    assert written["smtp_port"] == 2525
    assert written["imaps_port"] == 2993
    config_file.replace_file(tmp_path / "c.yaml", "server: {hostname: mail.example.com, smtp_port: 26}\n")
    assert lonely(*command, tty=True, stdin="\n").code == 6
    assert "imaps_port" not in (tmp_path / "c.yaml").read_text()


def test_setup_ends_with_commands_that_reach_this_daemon(
    mairust: Mairust, api: FakeApi, tmp_path: Path, checker: Path
) -> None:
    typed = "mail.example.com\n\nanna@example.com\n"
    result = mairust("setup", "--config", str(tmp_path / "c.yaml"), "--socket", str(api.socket), tty=True, stdin=typed)
    assert f"next: mairust --socket {api.socket} doctor" in result.err


@pytest.mark.parametrize("answer", ["localhost", "a b.example", "-x.example", "x" * 300 + ".example", "\x1b.example"])
def test_setup_refuses_a_host_name_that_is_none(answer: str, mairust: Mairust, tmp_path: Path, checker: Path) -> None:
    result = mairust("setup", "--config", str(tmp_path / "c.yaml"), tty=True, stdin=f"{answer}\n")
    assert result.code == 7
    assert not (tmp_path / "c.yaml").exists()


def test_setup_dry_run_writes_nothing(mairust: Mairust, api: FakeApi, tmp_path: Path, checker: Path) -> None:
    (tmp_path / "a.yaml").write_text("hostname: mail.new.example\ndomain: new.example\naccount: a@new.example\n")
    command = ("setup", "--config", str(tmp_path / "x" / "c.yaml"), "--answers", str(tmp_path / "a.yaml"), "--dry-run")
    assert mairust(*command, "--socket", str(api.socket)).code == 0
    assert not (tmp_path / "x").exists()
    assert not [request for request in api.requests if request.method == "POST"]


def test_setup_refuses_unknown_answers(mairust: Mairust, tmp_path: Path, checker: Path) -> None:
    (tmp_path / "a.yaml").write_text("password: secret\n")
    result = mairust("setup", "--config", str(tmp_path / "c.yaml"), "--answers", str(tmp_path / "a.yaml"))
    assert result.code == 7
    assert "no such answer 'password'" in result.err


def test_demo_ports_stand_above_their_base() -> None:
    base = free_base()
    assert choose_ports(base) == {name: base + port for name, port in PORTS.items()}
    assert len(choose_ports(0)) == len(PORTS)


@pytest.mark.parametrize("base", [998, 57_456, -1])
def test_demo_bases_out_of_range_are_wrong_usage(base: int) -> None:
    with pytest.raises(CliError) as caught:
        choose_ports(base)
    assert caught.value.code is Exit.USAGE


def test_a_busy_demo_port_is_named_with_a_free_base() -> None:
    base = free_base()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 993))
        taken.listen()
        with pytest.raises(CliError) as caught:
            choose_ports(base)
    assert caught.value.code is Exit.CONFLICT
    assert str(base + 993) in caught.value.what
    assert "--base-port" in caught.value.hint


def test_demo_folder_is_private_and_used_again(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / "demo")
    folder.prepare({"smtp_port": 20025})
    first = [path.read_bytes() for path in (folder.certificate, folder.key, folder.master_key)]
    folder.prepare({"smtp_port": 30025})
    assert [path.read_bytes() for path in (folder.certificate, folder.key, folder.master_key)] == first
    assert YAML(typ="safe").load(folder.config.read_text())["server"]["smtp_port"] == 30025
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    for path in (folder.config, folder.key, folder.master_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    names = x509.load_pem_x509_certificate(first[0]).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert "localhost" in names.value.get_values_for_type(x509.DNSName)


def test_demo_folder_with_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="too long"):
        DemoFolder(tmp_path / ("x" * 120)).prepare({})


def test_demo_tells_why_the_daemon_did_not_start(
    mairust: Mairust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mairustd"
    program.write_text("#!/bin/sh\necho 'no database' >&2\nexit 74\n")
    program.chmod(0o755)
    monkeypatch.setattr(demo_daemon, "mairustd", lambda environment: str(program))
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    result = mairust("demo", "--once", "--base-port", "0")
    assert result.code == 1
    assert "it ended with 74: no database" in result.err


def test_round_trip_compares_what_came_out_with_what_went_in() -> None:
    sent = demo_message("a@example.test", "b@example.test", "<1@example.test>")
    assert b"\r\n.\r\n" in sent
    assert all(len(line) <= 998 for line in sent.split(b"\r\n"))

    def trip(received: bytes | None) -> bool:
        return RoundTrip(message_id="<1@example.test>", sent=sent, received=received, delivered_s=0.1).same

    assert trip(b"Received: x\r\n" + sent)
    assert not trip(sent.replace(b"   \r\n", b"\r\n"))
    assert not trip(None)
