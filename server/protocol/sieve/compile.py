"""Scripts to programs, and programs to outcomes: the two doors of this room.

- A script that compiles has no unknown command, missing requirement or wrong argument left; what remains for the run
  are limits and values that come from variables.
- A run is pure: the same script, facts and message give the same outcome.

RFC 5228 §2.10.5, §3.2, §8.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.protocol.sieve import commands, editing, flags, including, replying, surroundings, tests, variables
from server.protocol.sieve.arguments import Arguments, Signature
from server.protocol.sieve.commands import If
from server.protocol.sieve.context import CommandKind, Context, Notes, TestKind
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.outcome import Keep, Outcome
from server.protocol.sieve.parser import parse
from server.protocol.sieve.session import Command, Facts, Include, Return, Script, Session, Stop, Test, Unknown
from server.protocol.sieve.strings import Text, compile_text, decode_characters
from server.protocol.sieve.tree import CommandNode, Strings, TestNode
from server.protocol.sieve.view import Octets

EXTENSIONS = (
    "body",
    "comparator-i;ascii-numeric",
    "comparator-i;unicode-casemap",
    "copy",
    "date",
    "duplicate",
    "editheader",
    "encoded-character",
    "enotify",
    "envelope",
    "environment",
    "ereject",
    "fileinto",
    "imap4flags",
    "include",
    "index",
    "mailbox",
    "mailboxid",
    "regex",
    "reject",
    "relational",
    "special-use",
    "subaddress",
    "vacation",
    "vacation-seconds",
    "variables",
)
"""What we announce (RFC 5804 §1.7)."""
NOTIFY_METHODS = ("mailto",)

_BUILT_IN = ("comparator-i;octet", "comparator-i;ascii-casemap")
_KNOWN = frozenset((*EXTENSIONS, *_BUILT_IN))
_IMPLIED = {"vacation-seconds": "vacation"}
_COMMANDS: dict[str, CommandKind] = {
    **commands.COMMANDS,
    **flags.COMMANDS,
    **variables.COMMANDS,
    **including.COMMANDS,
    **editing.COMMANDS,
    **replying.COMMANDS,
}
_TESTS: dict[str, TestKind] = {
    **tests.TESTS,
    **flags.TESTS,
    **variables.TESTS,
    **replying.TESTS,
    **surroundings.TESTS,
}


def compile_script(octets: bytes) -> Script:
    """Compile a script.

    Raises:
        SieveSyntaxError: With the line and what is wrong there.
    """
    return _Compiler().script(parse(octets))


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The run needs to know whether this unique id was seen: run again with the answer in `Facts.seen`."""

    key: str


def run_script(
    script: Script, facts: Facts, message: Octets, *, name: Include | None = None, flags: tuple[str, ...] = ()
) -> Outcome | Unanswered:
    """Run a script on one message for one recipient.

    Args:
        name: The script's own name, so that it can't include itself.
        flags: Flags to begin with: those another script left.

    Raises:
        SieveRuntimeError: The mail is to be kept in the default mailbox.
    """
    session = Session(facts, message, flags=flags)
    if name is not None:
        session.including.append(name)
    try:
        session.run(script.commands)
    except (Stop, Return):
        # Both end the outermost script (RFC 5228 §3.3, RFC 6609 §3.3).
        session.line = 0
    except Unknown as question:
        return Unanswered(question.key)
    actions = tuple(session.actions)
    if session.keeps and not any(isinstance(action, Keep) for action in actions):
        actions = (*actions, Keep(flags=session.flags, implicit=True, header=session.view.header()))
    return Outcome(
        actions=actions, keeps=session.keeps, flags=session.flags, seen=tuple(session.seen), work=session.work
    )


class _Compiler:
    def __init__(self) -> None:
        self._notes = Notes()

    def script(self, nodes: Sequence[CommandNode]) -> Script:
        place = 0
        while place < len(nodes) and nodes[place].name == "require":
            self._require(nodes[place])
            place += 1
        return Script(
            commands=self._block(nodes[place:]),
            extensions=frozenset(self._notes.required),
            includes=tuple(self._notes.includes),
            needs_mailboxes=self._notes.needs_mailboxes,
        )

    def _require(self, node: CommandNode) -> None:
        """RFC 5228 §3.2."""
        given = node.arguments
        if len(given) != 1 or not isinstance(given[0], Strings) or node.tests or node.block is not None:
            raise SieveSyntaxError("require takes a list of extensions", node.line)
        for name in given[0].values:
            if name not in _KNOWN:
                raise SieveSyntaxError(f"the extension {name[:60]!r} is not supported", given[0].line)
            self._notes.required.add(name)
            if name in _IMPLIED:
                self._notes.required.add(_IMPLIED[name])

    def _block(self, nodes: Sequence[CommandNode]) -> tuple[Command, ...]:
        built: list[Command] = []
        place = 0
        while place < len(nodes):
            node = nodes[place]
            place += 1
            if node.name == "if":
                chain = [node]
                while place < len(nodes) and nodes[place].name in ("elsif", "else"):
                    chain.append(nodes[place])
                    place += 1
                built.append(self._if(chain))
            elif node.name in ("elsif", "else"):
                raise SieveSyntaxError(f"{node.name} without an if before it", node.line)
            elif node.name == "require":
                raise SieveSyntaxError("require must stand before all other commands", node.line)
            else:
                built.append(self._command(node))
        return tuple(built)

    def _if(self, chain: list[CommandNode]) -> Command:
        branches: list[tuple[Test, tuple[Command, ...]]] = []
        otherwise: tuple[Command, ...] = ()
        for place, node in enumerate(chain):
            if node.block is None:
                raise SieveSyntaxError(f"{node.name} takes a block", node.line)
            if node.arguments or len(node.tests) != (0 if node.name == "else" else 1):
                wanted = "no test" if node.name == "else" else "one test"
                raise SieveSyntaxError(f"{node.name} takes {wanted}", node.line)
            if node.name == "else":
                if place != len(chain) - 1:
                    raise SieveSyntaxError(f"{chain[place + 1].name} after else", chain[place + 1].line)
                otherwise = self._block(node.block)
            else:
                # In the order of the text: what a test requires is looked up as it is met.
                test = self._test(node.tests[0])
                branches.append((test, self._block(node.block)))
        return If(branches=tuple(branches), otherwise=otherwise, line=chain[0].line)

    def _command(self, node: CommandNode) -> Command:
        kind = _COMMANDS.get(node.name)
        if kind is None:
            raise SieveSyntaxError(f"the command {node.name[:40]!r} is not known", node.line)
        self._check_extension(node, kind.extension)
        if node.block is not None:
            raise SieveSyntaxError(f"{node.name} takes no block", node.line)
        if node.tests:
            raise SieveSyntaxError(f"{node.name} takes no test", node.line)
        return kind.build(self._context(node, kind.signature, ()))

    def _test(self, node: TestNode) -> Test:
        kind = _TESTS.get(node.name)
        if kind is None:
            raise SieveSyntaxError(f"the test {node.name[:40]!r} is not known", node.line)
        self._check_extension(node, kind.extension)
        wanted = kind.signature.tests
        if wanted >= 0 and len(node.tests) != wanted:
            raise SieveSyntaxError(f"{node.name} takes {'one test' if wanted else 'no test'}", node.line)
        if wanted < 0 and not node.tests:
            raise SieveSyntaxError(f"{node.name} takes a list of tests", node.line)
        return kind.build(self._context(node, kind.signature, tuple(self._test(test) for test in node.tests)))

    def _check_extension(self, node: CommandNode | TestNode, extension: str) -> None:
        if extension and extension not in self._notes.required:
            raise SieveSyntaxError(f'{node.name} needs require "{extension}"', node.line)

    def _context(self, node: CommandNode | TestNode, signature: Signature, inner: tuple[Test, ...]) -> Context:
        arguments = Arguments(node.line, self._text)
        arguments.bind(node.name, node.arguments, signature, frozenset(self._notes.required))
        return Context(name=node.name, line=node.line, arguments=arguments, notes=self._notes, tests=inner)

    def _text(self, value: str, line: int) -> Text:
        required = self._notes.required
        if "encoded-character" in required:
            value = decode_characters(value, line)
        if "variables" not in required:
            return value
        namespaces = frozenset(("global",)) if "include" in required else frozenset[str]()
        return compile_text(value, line, namespaces=namespaces)
