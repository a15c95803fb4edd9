"""One running server for all tests of this folder that need nothing special; each test takes accounts of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.daemon_process import DaemonProcess

ACCOUNTS = 60


@pytest.fixture(scope="package")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A server for `example.test`; mail to other domains goes to `office.capture`."""
    with DaemonProcess(tmp_path_factory.mktemp("office"), accounts=ACCOUNTS) as daemon:
        yield daemon


@pytest.fixture(scope="package")
def unused(office: DaemonProcess) -> Iterator[str]:
    return iter(office.addresses)


@pytest.fixture
def person(unused: Iterator[str]) -> Callable[[], str]:
    """Call it for an account's address that no other test has."""
    return lambda: next(unused)
