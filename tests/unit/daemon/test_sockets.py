"""server.daemon.sockets: passed by systemd or bound by configuration (packaging.md §5, security.md §5, T28)."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from server.daemon.exits import ExitCode, StartFailure
from server.daemon.sockets import Sockets, bind_tcp, bind_unix

TAKER = """
import os, socket, sys
from server.daemon.sockets import Sockets
environ = dict(os.environ, LISTEN_PID=str(os.getpid()))
sockets = Sockets(environ)
for name in ("smtp", "imap"):
    taken = sockets.tcp(name, ["127.0.0.1"], 1)
    print(name, [item.getsockname()[1] for item in taken], [item.get_inheritable() for item in taken])
print(sorted(name for name in environ if name.startswith("LISTEN")), sockets.activated)
"""


def taker(*listening: socket.socket, names: str) -> subprocess.CompletedProcess[str]:
    """Run TAKER with the sockets as descriptors 3, 4..., as systemd does."""
    moves = "; ".join(f"os.dup2({item.fileno()}, {100 + number})" for number, item in enumerate(listening))
    back = "; ".join(f"os.dup2({100 + number}, {3 + number})" for number in range(len(listening)))
    become = f"os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {TAKER!r}])"
    code = "; ".join(part for part in ("import os", moves, back, become) if part)
    environ = {**os.environ, "LISTEN_FDS": str(len(listening)), "LISTEN_FDNAMES": names}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        pass_fds=[item.fileno() for item in listening],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


def test_passed_sockets_are_taken_by_name_and_others_stay_closed() -> None:
    one, two = (bind_tcp(["127.0.0.1"], 0)[0] for _ in range(2))
    with one, two:
        ports = [item.getsockname()[1] for item in (one, two)]
        done = taker(one, two, names="smtp:smtp")
        assert done.stderr == ""
        assert done.stdout.splitlines() == [f"smtp {ports} [False, False]", "imap [] []", "[] True"]


def test_a_descriptor_that_does_not_listen_is_refused() -> None:
    with socket.socket() as idle:
        done = taker(idle, names="smtp")
    assert "does not listen" in done.stderr


def test_descriptors_meant_for_another_process_are_left_alone() -> None:
    sockets = Sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smtp"})
    assert not sockets.activated
    assert sockets.tcp("smtp", ["127.0.0.1"], 0) == []


def test_without_passed_sockets_every_address_is_bound() -> None:
    bound = bind_tcp(["127.0.0.1", "127.0.0.2"], 0)
    assert [item.getsockname()[0] for item in bound] == ["127.0.0.1", "127.0.0.2"]
    assert all(item.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for item in bound)
    assert all(item.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for item in bound)
    assert not any(item.getblocking() for item in bound)
    for item in bound:
        item.close()


def test_both_wildcards_share_a_port() -> None:
    (first,) = bind_tcp(["0.0.0.0"], 0)
    port = first.getsockname()[1]
    first.close()
    bound = bind_tcp(["0.0.0.0", "::"], port)
    assert {item.family for item in bound} <= {socket.AF_INET, socket.AF_INET6}
    for item in bound:
        item.close()


def test_a_busy_port_is_named_with_the_way_to_find_its_owner() -> None:
    (holder,) = bind_tcp(["127.0.0.1"], 0)
    port = holder.getsockname()[1]
    with holder, pytest.raises(StartFailure) as caught:
        bind_tcp(["127.0.0.2", "127.0.0.1"], port)
    assert caught.value.code is ExitCode.DEPENDENCY_DOWN
    assert f"port {port} on 127.0.0.1: another program listens there" in caught.value.text


def test_an_address_of_another_host_is_named() -> None:
    with pytest.raises(StartFailure, match="does not have the address"):
        bind_tcp(["192.0.2.1"], 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give up root's right to low ports")
def test_a_missing_right_to_a_port_is_77() -> None:
    code = (
        "import os\n"
        "from server.daemon.sockets import bind_tcp\n"
        "from server.daemon.exits import StartFailure\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: bind_tcp(['127.0.0.1'], 79)\n"
        "except StartFailure as e: print(int(e.code), e.text)\n"
    )
    limit = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if int(limit.read_text()) <= 79:
        pytest.skip("this host gives low ports to everybody")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=False)
    assert done.stdout.startswith("77 port 79")


def test_a_unix_socket_is_closed_to_others_and_removed_at_the_end(tmp_path: Path) -> None:
    sockets, path = Sockets({}), tmp_path / "run" / "api.sock"
    (bound,) = sockets.unix("api", path, group="no-such-group")
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    with bound, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    sockets.close()
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to any group")
def test_a_unix_socket_is_given_to_its_group(tmp_path: Path) -> None:
    with bind_unix(tmp_path / "api.sock", group="daemon"):
        status = (tmp_path / "api.sock").lstat()
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert status.st_gid != 0


def test_t28_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    bind_unix(path, group="none").close()
    with bind_unix(path, group="none"), pytest.raises(StartFailure) as caught:
        bind_unix(path, group="none")
    assert caught.value.code is ExitCode.LOCKED


@pytest.mark.parametrize("planted", ["file", "link", "folder"])
def test_t32_something_else_at_the_path_is_never_removed(tmp_path: Path, planted: str) -> None:
    path, target = tmp_path / "api.sock", tmp_path / "target"
    target.write_text("precious")
    if planted == "file":
        path.write_text("precious")
    elif planted == "link":
        path.symlink_to(target)
    else:
        path.mkdir()
    with pytest.raises(StartFailure, match="not a socket"):
        bind_unix(path, group="none")
    assert path.exists()
    assert target.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(StartFailure) as caught:
        bind_unix(tmp_path / ("x" * 120), group="none")
    assert caught.value.code is ExitCode.CONFIGURATION


def test_close_leaves_a_socket_that_somebody_else_put_there(tmp_path: Path) -> None:
    sockets, path = Sockets({}), tmp_path / "api.sock"
    (bound,) = sockets.unix("api", path, group="none")
    bound.close()
    path.rename(tmp_path / "old")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        sockets.close()
        assert path.exists()
