"""The console's boxes: a question before a change, one line to type, and a page of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Button, Footer, Input, Static

from mairust_cli.output.escape import safe
from mairust_cli.tui.keymap import TEXT, bindings


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a change would do.

    Attributes:
        samples: At most three objects it touches.
        command: The equal command line.
    """

    text: str
    samples: Sequence[str]
    command: str


class Confirm(ModalScreen[bool]):
    """Asks before a change; the safe answer has the focus."""

    BINDINGS = [("escape", "refuse", "No"), ("n", "refuse", "No"), ("y", "agree", "Yes")]  # noqa: RUF012

    def __init__(self, question: Question) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        lines = [self._question.text, "", *(f"  {line}" for line in self._question.samples[:3])]
        lines += ["", f"runs: {self._question.command}"]
        with Vertical(id="box"):
            yield Static(Text("\n".join(lines)), id="question")
            with Horizontal(id="answers"):
                yield Button("No", id="no")
                yield Button("Yes", id="yes")

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def answer(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_refuse(self) -> None:
        self.dismiss(False)

    def action_agree(self) -> None:
        self.dismiss(True)


class Ask(ModalScreen[str | None]):
    """One line of text; None when it was given up."""

    BINDINGS = [("escape", "give_up", "Back")]  # noqa: RUF012

    def __init__(self, label: str, value: str = "") -> None:
        super().__init__()
        self._label = label
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical(id="line"):
            yield Static(Text(self._label))
            yield Input(self._value, max_length=200)

    @on(Input.Submitted)
    def entered(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_give_up(self) -> None:
        self.dismiss(None)


class Page(Screen[None]):
    """Text to read: a delivery, a trace, raw JSON, the keys."""

    BINDINGS = bindings(TEXT)

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        yield Static(Text(safe(self._title), style="bold"), classes="bar")
        with VerticalScroll():
            yield Static(Text("\n".join(self._lines)), id="text")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        self.dismiss(None)
