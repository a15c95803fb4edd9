"""Makes inputs of seeds, runs them within limits, keeps what breaks.

- Without a coverage guide it still finds much: seeds are spliced, words thrown in, runs repeated a thousandfold.
- A kept input is a regression test for ever: `findings/TARGET/*.bin` run first, everywhere.
"""

from __future__ import annotations

import hashlib
import random
import resource
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.targets import Target

FINDINGS = Path(__file__).resolve().parent / "findings"
INPUT_MAX = 256 * 1024
CPU_MAX_S = 1.0
MEMORY_MAX = 64 * 1024 * 1024
TRACED_FROM_S = 0.05
"""Inputs that take this long are run again with their memory traced."""


class Broken(AssertionError):
    """An input broke a rule; the text says which."""


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """Endless inputs, the same for the same seed."""
    rng = random.Random(f"{target.name}/{seed}")
    pool = list(target.seeds)
    while True:
        made = bytearray(rng.choice(pool))
        for _ in range(rng.randint(1, 6)):
            _change(made, rng, target, pool)
        yield bytes(made[:INPUT_MAX])
        if rng.random() < 0.05 and len(made) < 4096:
            pool.append(bytes(made))
            if len(pool) > 200:
                pool.pop(len(target.seeds))


def _change(made: bytearray, rng: random.Random, target: Target, pool: list[bytes]) -> None:
    at = rng.randint(0, len(made))
    end = min(len(made), at + rng.choice((1, 2, 8, 64)))
    match rng.randrange(8):
        case 0:
            del made[at:end]
        case 1:
            made[at:end] = rng.randbytes(end - at)
        case 2 | 3:
            made[at:at] = rng.choice(target.words)
        case 4:
            made[at:at] = rng.choice(target.words) * rng.choice((2, 10, 1000))
        case 5:
            other = rng.choice(pool)
            start = rng.randint(0, len(other))
            made[at:end] = other[start : start + rng.randint(0, 200)]
        case 6:
            made[at:at] = made[at:end] * rng.choice((2, 50, 2000))
        case _:
            if at < len(made):
                made[at] ^= 1 << rng.randrange(8)


def check(target: Target, data: bytes) -> None:
    """Run one input. Raises Broken; an exception of the target goes on to the caller."""
    began = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    target.run(data)
    spent = time.process_time() - began
    if spent > CPU_MAX_S:
        raise Broken(f"{target.name}: {spent:.2f} s of CPU for {len(data)} octets")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if spent > TRACED_FROM_S or grown > MEMORY_MAX // 4:
        _check_memory(target, data)


def _check_memory(target: Target, data: bytes) -> None:
    tracemalloc.start()
    try:
        target.run(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > MEMORY_MAX:
        raise Broken(f"{target.name}: {peak >> 20} MiB for {len(data)} octets")


def kept(target: Target) -> list[Path]:
    """Inputs that broke it once."""
    return sorted((FINDINGS / target.name).glob("*.bin"))


def keep(target: Target, data: bytes) -> Path:
    """Keep an input that broke it, made smaller where that is easy."""
    folder = FINDINGS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    return path


def breaks(target: Target, data: bytes) -> str:
    """What is wrong with an input, in words; empty when nothing is."""
    try:
        check(target, data)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def smaller(target: Target, data: bytes, *, tries: int = 400) -> bytes:
    """A part of an input that still breaks the target the same way."""
    kind = breaks(target, data).partition(":")[0]
    step = len(data) // 2
    while step and tries:
        for start in range(0, len(data), step):
            tries -= 1
            shorter = data[:start] + data[start + step :]
            if breaks(target, shorter).partition(":")[0] == kind:
                data = shorter
                break
            if not tries:
                break
        else:
            step //= 2
    return data
