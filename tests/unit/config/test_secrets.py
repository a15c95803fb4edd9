"""Secrets: where they come from, and that they don't leak (config.md §3, security.md §12, T33)."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import msgspec
import pytest

from server.config.describe import describe
from server.config.load import ConfigError, load, parse
from server.config.secret import Secret

URL = "postgres://u:hunter2@db/mairust"


def config(form: str) -> str:
    return f"server: {{hostname: m.example}}\ndatabase:\n  type: postgres\n  url: '{form}'\n"


def url_of(form: str, **environ: str) -> str:
    return parse(config(form), environ=environ).settings.database.url.reveal()


def fault_of(form: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(config(form), environ=environ)
    return "\n".join(caught.value.lines())


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(URL + "\n")
    path.chmod(0o600)
    return path


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("hunter2")
    assert f"{secret} {secret!r} {secret:>10}".count("hunter2") == 0
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_forms_of_a_secret(secret_file: Path) -> None:
    assert url_of(URL) == URL
    assert url_of(f"file:{secret_file}") == URL
    assert url_of("env:DB", DB=URL) == URL
    assert url_of("cred:url", CREDENTIALS_DIRECTORY=str(secret_file.parent)) == URL


def test_the_environment_wins_over_the_file(secret_file: Path) -> None:
    other = "postgres://other/db"
    assert url_of(URL, MAIRUST_DATABASE_URL=other) == other
    assert url_of("cred:missing", MAIRUST_DATABASE_URL_FILE=str(secret_file)) == URL


def test_variables_that_held_a_secret_are_reported_for_removal() -> None:
    assert parse(config("env:DB"), environ={"DB": URL, "HOME": "/"}).used_variables == {"DB"}


def test_secret_files_must_be_closed_regular_and_ours(secret_file: Path, tmp_path: Path) -> None:
    secret_file.chmod(0o640)
    assert "open to others (mode 0640)" in fault_of(f"file:{secret_file}")
    link = tmp_path / "link"
    link.symlink_to(secret_file)
    assert "can't read" in fault_of(f"file:{link}")
    assert "not a regular file" in fault_of(f"file:{tmp_path}")
    assert "can't read" in fault_of(f"file:{tmp_path}/none")


def test_faults_of_other_forms() -> None:
    assert "variable NOPE is not set" in fault_of("env:NOPE")
    assert "CREDENTIALS_DIRECTORY is not set" in fault_of("cred:x")
    assert "a credential's name" in fault_of("cred:../x", CREDENTIALS_DIRECTORY="/")


def test_unknown_variables_of_ours_are_faults() -> None:
    assert "MAIRUST_DATABASE_URI: unknown environment variable (did you mean MAIRUST_DATABASE_URL?)" in fault_of(
        URL, MAIRUST_DATABASE_URI="x"
    )
    assert "outbound.relay is not configured" in fault_of(URL, MAIRUST_OUTBOUND_RELAY_PASSWORD="x")
    assert "both MAIRUST_DATABASE_URL and" in fault_of(URL, MAIRUST_DATABASE_URL="x", MAIRUST_DATABASE_URL_FILE="y")


def test_a_fault_never_repeats_the_secret() -> None:
    assert "hunter2" not in fault_of("mysql://u:hunter2@h/d")


def test_a_literal_secret_needs_a_file_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(URL))
    path.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert "others can read" in caught.value.lines()[0]
    path.chmod(0o640)
    assert load(path, {}).literal_secrets == ("database.url",)


def test_descriptions_show_secrets_as_stars() -> None:
    settings = parse(config(URL)).settings
    shown = {item.key: item for item in describe(settings)}
    assert shown["database.url"].value == "********"
    assert shown["outbound.relay.password"].value is None
    assert shown["queue.retry_delays"].value == [300.0, 600.0, 1200.0, 2400.0, 3600.0]
    assert shown["smtp.max_hops"].reloadable
    assert b"hunter2" not in msgspec.json.encode(list(shown.values()))
