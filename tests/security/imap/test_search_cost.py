"""What a search of hostile text costs (T14, P5)."""

from __future__ import annotations

import tracemalloc

import pytest

from server.protocol.mime import search
from server.protocol.mime.search import fold
from server.protocol.mime.text import strip_html

MIB = 1024 * 1024


def test_four_mebibytes_of_short_words_cost_little_memory() -> None:
    text = "aa bb cc d " * (4 * MIB // 11)
    tracemalloc.start()
    try:
        folded = fold(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(folded) == len(text) - 1
    assert peak < 32 * MIB


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a",
        " a  b\r\n\tc ",
        "x" * 100,
        "x" * 30 + " " * 40 + "y" * 30,
        "Stra\u00dfe \u0130\u2003\u3000x\x1c\x85y " * 9,
        strip_html("<b>a</b> " * 20),
    ],
)
def test_the_form_is_the_same_however_it_is_cut(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = " ".join(text.casefold().split())
    for characters in (1, 2, 7, 64):
        monkeypatch.setattr(search, "_FOLD_CHARACTERS", characters)
        assert fold(text) == whole
