"""The keys of the console, as data.

- One key, one meaning, on every screen; a key that changes something is dim in read-only mode.
- Screens take their bindings from here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType

EVERYWHERE = "everywhere"
QUEUE = "queue"
TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One binding.

    Attributes:
        id: Name of the action, and of the binding.
        keys: Textual's key names, comma-separated; the first is shown.
        label: Word in the footer.
        help: Sentence on the page of keys.
        screen: Where it acts.
        shown: Whether the footer has room for it at 80 columns.
        changes: Whether it changes something, so that read-only mode forbids it.
        first: Whether it comes before a key of the widget that has the focus.
    """

    id: str
    keys: str
    label: str
    help: str
    screen: str
    shown: bool = False
    changes: bool = False
    first: bool = False


KEYS = (
    Key(id="view('overview')", keys="1", label="Overview", help="overview", screen=EVERYWHERE),
    Key(id="view('queue')", keys="2", label="Queue", help="queue", screen=EVERYWHERE),
    Key(id="jump", keys="colon", label="Jump", help="jump: overview, queue example.net", screen=EVERYWHERE),
    Key(id="pause_painting", keys="p", label="Pause", help="pause painting, go on", screen=EVERYWHERE),
    Key(id="read_only", keys="ctrl+r", label="Read-only", help="read-only on and off", screen=EVERYWHERE),
    Key(id="keys", keys="question_mark,f1", label="Keys", help="this page", screen=EVERYWHERE, shown=True),
    Key(id="quit", keys="q", label="Quit", help="quit", screen=EVERYWHERE, shown=True),
    Key(id="do('retry')", keys="r", label="Retry", help="try now", screen=QUEUE, shown=True, changes=True),
    Key(id="hold", keys="h", label="Hold", help="hold, let go", screen=QUEUE, shown=True, changes=True),
    Key(id="do('bounce')", keys="b", label="Bounce", help="bounce with a DSN", screen=QUEUE, shown=True, changes=True),
    Key(
        id="do('delete')", keys="d", label="Delete", help="delete, tell nobody", screen=QUEUE, shown=True, changes=True
    ),
    Key(id="mark", keys="space", label="Mark", help="mark, unmark", screen=QUEUE, shown=True),
    Key(id="mark_all", keys="asterisk", label="Mark all", help="mark all shown, or none", screen=QUEUE),
    Key(
        id="open",
        keys="enter",
        label="Open",
        help="open: attempts and all fields",
        screen=QUEUE,
        shown=True,
        first=True,
    ),
    Key(id="trace", keys="t", label="Trace", help="trace this message", screen=QUEUE, shown=True),
    Key(id="filter", keys="slash", label="Filter", help="filter on the server", screen=QUEUE),
    Key(id="copy_id", keys="c", label="Copy id", help="copy the id", screen=QUEUE),
    Key(id="copy_command", keys="y", label="Copy command", help="copy the equal command", screen=QUEUE),
    Key(id="raw", keys="v", label="Raw", help="raw object as JSON", screen=QUEUE),
    Key(id="close", keys="escape", label="Back", help="back", screen=TEXT, shown=True),
)
BY_ID = {key.id: key for key in KEYS}


def bindings(screen: str) -> list[BindingType]:
    """The bindings of one screen, in the order of the table."""
    return [
        Binding(
            key.keys,
            key.id,
            key.label,
            show=key.shown,
            priority=key.first,
            key_display="enter" if key.keys == "enter" else None,
        )
        for key in KEYS
        if key.screen == screen
    ]


def key_lines() -> list[str]:
    """The page of keys: one line each, those for everywhere first."""
    names = {"question_mark": "?", "colon": ":", "slash": "/", "asterisk": "*"}
    lines = []
    for key in KEYS:
        shown = " ".join(names.get(name, name) for name in key.keys.split(","))
        lines.append(f"  {shown:<10} {key.help:<36} {'' if key.screen == EVERYWHERE else key.screen}".rstrip())
    return lines
