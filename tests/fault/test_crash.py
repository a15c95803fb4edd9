"""FT2, quick tier: kill -9 under load loses nothing that was acknowledged (reliability.md P1-P3, F01)."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from tests.fault.checker import compare
from tests.fault.crash import Report, crash
from tests.support.ledger import Ledger, Story, found_in, make_trial, read_ledgers
from tests.support.postgres import PostgresServer

SEED = 20261122


@pytest.mark.timeout(240)
def test_kills_on_sqlite_lose_nothing(tmp_path: Path) -> None:
    _assert_good(crash(tmp_path, kills=12, seed=SEED))


@pytest.mark.timeout(240)
def test_kills_on_postgres_lose_nothing(tmp_path: Path, postgres: PostgresServer) -> None:
    _assert_good(crash(tmp_path, kills=4, seed=SEED, database_url=postgres.dsn()))


def _assert_good(report: Report) -> None:
    assert report.bad == [], f"seed {report.seed}"
    assert report.findings.acknowledged > 15 * report.kills


# The witness itself: each kind of damage must be seen.


def test_checker_sees_loss_duplicates_damage_and_phantoms() -> None:
    stories = {
        "good": Story("1", ("a",), tries=1, acknowledged=1),
        "lost": Story("2", ("a", "b"), tries=1, acknowledged=1, replies=["250"]),
        "twice": Story("3", ("a",), tries=1, acknowledged=1),
        "allowed": Story("4", ("a",), tries=2, acknowledged=1),
        "damaged": Story("5", ("a",), tries=1, acknowledged=1),
        "unanswered": Story("6", ("a",), tries=1),
    }
    found = {
        ("good", "a"): ["1"],
        ("lost", "a"): ["2"],
        ("twice", "a"): ["3", "3"],
        ("allowed", "a"): ["4", "4"],
        ("damaged", "a"): ["x"],
        ("ghost", "a"): ["7"],
    }
    findings = compare(stories, found)
    assert [len(x) for x in (findings.lost, findings.dup, findings.corrupt, findings.phantom)] == [1, 1, 1, 1]
    assert findings.allowed_duplicates == 1
    assert findings.lost[0].startswith("lost for b")


def test_ledger_counts_attempts_and_successes(tmp_path: Path) -> None:
    trial = make_trial(random.Random(1), "t", sender="a@example.org", places=["b@example.test"], size=2000)
    ledger = Ledger(tmp_path / "t.jsonl")
    ledger.trying(trial)
    ledger.trying(trial)
    ledger.answered(trial, "250 ok", success=True)
    ledger.close()
    story = read_ledgers([tmp_path / "t.jsonl"])[trial.id]
    assert (story.tries, story.acknowledged, story.unacknowledged) == (2, 1, 1)


def test_trial_is_found_again_behind_trace_fields_and_damage_shows() -> None:
    trial = make_trial(random.Random(2), "t", sender="a@example.org", places=["b@example.test"], size=2000)
    assert found_in(b"Received: from x\r\n" + trial.octets) == (trial.id, trial.sha256)
    cut = dataclasses.replace(trial, octets=trial.octets[:-5])
    assert found_in(cut.octets) != (trial.id, trial.sha256)
