"""The lock files name every dependency, within its range, with hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package, version in PINNED.findall((ROOT / "packaging" / name).read_text()):
        found.setdefault(canonicalize_name(package), set()).add(version)
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", PROJECT["dependencies"]),
        ("requirements-test.lock", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]),
    ],
)
def test_every_dependency_is_pinned_within_its_range(lock: str, wanted: list[str]) -> None:
    found = pins(lock)
    for text in wanted:
        requirement = Requirement(text)
        versions = found.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement.name} is not in {lock}: run packaging/lock"
        assert all(version in requirement.specifier for version in versions), (
            f"{text} but {versions}: run packaging/lock"
        )


def test_the_tests_lock_holds_the_products_pins_unchanged() -> None:
    tests = pins("requirements-test.lock")
    assert all(tests[name] == versions for name, versions in pins("requirements.lock").items())


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-test.lock"])
def test_every_pin_has_a_hash(lock: str) -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "packaging" / lock).read_text().strip())
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
