"""server.adapters.secrets: the master key and what it seals (config.md §3, T33)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from server.adapters.secrets import Broken, MasterKeyMissing, SecretBox, create_master_key, load_master_key

KEY = bytes(range(32))


def test_what_is_sealed_opens_in_its_own_context_only() -> None:
    box = SecretBox(KEY)
    sealed = box.seal(b"private", context="dkim_keys.private:1")
    assert b"private" not in sealed
    assert box.open(sealed, context="dkim_keys.private:1") == b"private"
    with pytest.raises(Broken):
        box.open(sealed, context="dkim_keys.private:2")


def test_a_damaged_value_and_another_key_do_not_open() -> None:
    sealed = SecretBox(KEY).seal(b"private", context="c")
    for broken in (sealed[:-1], b"\x02" + sealed[1:], b"", sealed[:5], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(Broken):
            SecretBox(KEY).open(broken, context="c")
    with pytest.raises(Broken):
        SecretBox(bytes(32)).open(sealed, context="c")


def test_two_seals_of_the_same_text_differ() -> None:
    box = SecretBox(KEY)
    assert box.seal(b"x", context="c") != box.seal(b"x", context="c")


def test_the_box_does_not_show_its_key() -> None:
    assert KEY.hex() not in repr(SecretBox(KEY))
    assert SecretBox(KEY).fingerprint != SecretBox(bytes(32)).fingerprint


def test_a_new_key_is_0600_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    create_master_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_master_key({}, config_folder=tmp_path).fingerprint
    with pytest.raises(FileExistsError):
        create_master_key(path)


def test_a_credential_wins_over_a_variable_over_the_folder(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("cred", "var", "etc")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "master.key").write_bytes(base64.b64encode(bytes([number]) * 32))
        (folder / "master.key").chmod(0o600)
    boxes = [SecretBox(bytes([number]) * 32).fingerprint for number in range(3)]
    environ = {"CREDENTIALS_DIRECTORY": str(folders[0]), "MAIRUST_MASTER_KEY_FILE": str(folders[1] / "master.key")}
    assert load_master_key(environ, config_folder=folders[2]).fingerprint == boxes[0]
    del environ["CREDENTIALS_DIRECTORY"]
    assert load_master_key(environ, config_folder=folders[2]).fingerprint == boxes[1]
    assert load_master_key({}, config_folder=folders[2]).fingerprint == boxes[2]


@pytest.mark.parametrize(
    ("text", "words"), [("no base64!", "not base64"), ("QUJD", "holds 3 octets"), (None, "can't read")]
)
def test_a_bad_key_is_named_by_its_path(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "master.key").write_text(text)
        (tmp_path / "master.key").chmod(0o600)
    with pytest.raises(MasterKeyMissing, match=words) as caught:
        load_master_key({}, config_folder=tmp_path)
    assert "master.key" in str(caught.value)


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    create_master_key(tmp_path / "master.key")
    (tmp_path / "master.key").chmod(0o644)
    with pytest.raises(MasterKeyMissing, match="open to others"):
        load_master_key({}, config_folder=tmp_path)
