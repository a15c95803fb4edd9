"""The grammar (RFC 5228 §8.2): tokens to the generic tree.

- Nesting, list length and the number of commands are bounded; the parser recurses at most `NESTING_MAX` deep.
"""

from __future__ import annotations

from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.limits import COMMANDS_MAX, LIST_MAX, NESTING_MAX
from server.protocol.sieve.tokens import Token, TokenKind, tokens
from server.protocol.sieve.tree import Argument, CommandNode, Number, Strings, Tag, TestNode


def parse(script: bytes) -> tuple[CommandNode, ...]:
    """Parse a whole script.

    Raises:
        SieveSyntaxError: With the line where it went wrong.
    """
    return _Parser(script).script()


class _Parser:
    def __init__(self, script: bytes) -> None:
        self._tokens = tokens(script)
        self._next = next(self._tokens)
        self._count = 0

    def script(self) -> tuple[CommandNode, ...]:
        commands = self._commands(0)
        if self._next.kind is not TokenKind.END:
            raise self._unexpected("a command")
        return commands

    def _commands(self, depth: int) -> tuple[CommandNode, ...]:
        commands: list[CommandNode] = []
        while self._next.kind is TokenKind.NAME:
            commands.append(self._command(depth))
        return tuple(commands)

    def _command(self, depth: int) -> CommandNode:
        name = self._take()
        self._counted(name, depth)
        arguments, tests = self._arguments(depth)
        if self._is_mark(";"):
            self._take()
            return CommandNode(name.text, arguments, tests, None, name.line)
        if not self._is_mark("{"):
            raise self._unexpected("a semicolon or a block")
        self._take()
        block = self._commands(depth + 1)
        if not self._is_mark("}"):
            raise self._unexpected("a command or }")
        self._take()
        return CommandNode(name.text, arguments, tests, block, name.line)

    def _arguments(self, depth: int) -> tuple[tuple[Argument, ...], tuple[TestNode, ...]]:
        """*argument [ test / test-list ]."""
        arguments: list[Argument] = []
        while True:
            token = self._next
            if token.kind is TokenKind.TAG:
                arguments.append(Tag(self._take().text, token.line))
            elif token.kind is TokenKind.NUMBER:
                arguments.append(Number(self._take().number, token.line))
            elif token.kind is TokenKind.STRING:
                arguments.append(Strings((self._take().text,), False, token.line))
            elif self._is_mark("["):
                arguments.append(self._string_list())
            else:
                break
        if self._next.kind is TokenKind.NAME:
            return tuple(arguments), (self._test(depth + 1),)
        if self._is_mark("("):
            return tuple(arguments), self._test_list(depth + 1)
        return tuple(arguments), ()

    def _test(self, depth: int) -> TestNode:
        name = self._take()
        self._counted(name, depth)
        arguments, tests = self._arguments(depth)
        return TestNode(name.text, arguments, tests, name.line)

    def _test_list(self, depth: int) -> tuple[TestNode, ...]:
        self._take()
        found: list[TestNode] = []
        while True:
            if self._next.kind is not TokenKind.NAME:
                raise self._unexpected("a test")
            found.append(self._test(depth))
            if not self._more(")"):
                return tuple(found)

    def _string_list(self) -> Strings:
        line = self._take().line
        values: list[str] = []
        if self._is_mark("]"):
            self._take()
            return Strings((), True, line)
        while True:
            if self._next.kind is not TokenKind.STRING:
                raise self._unexpected("a string")
            values.append(self._take().text)
            if len(values) > LIST_MAX:
                raise SieveSyntaxError(f"a list of more than {LIST_MAX} strings", line)
            if not self._more("]"):
                return Strings(tuple(values), True, line)

    def _more(self, closing: str) -> bool:
        """Take a comma (True) or the closing mark (False)."""
        if self._is_mark(","):
            self._take()
            return True
        if self._is_mark(closing):
            self._take()
            return False
        raise self._unexpected(f"a comma or {closing}")

    def _counted(self, token: Token, depth: int) -> None:
        self._count += 1
        if self._count > COMMANDS_MAX:
            raise SieveSyntaxError(f"more than {COMMANDS_MAX} commands and tests", token.line)
        if depth > NESTING_MAX:
            raise SieveSyntaxError(f"nested deeper than {NESTING_MAX} levels", token.line)

    def _take(self) -> Token:
        token = self._next
        if token.kind is not TokenKind.END:
            self._next = next(self._tokens)
        return token

    def _is_mark(self, mark: str) -> bool:
        return self._next.kind is TokenKind.MARK and self._next.text == mark

    def _unexpected(self, wanted: str) -> SieveSyntaxError:
        token = self._next
        if token.kind is TokenKind.END:
            found = "the script ends"
        elif token.kind is TokenKind.STRING:
            found = "there is a string"
        else:
            found = f"there is {(':' if token.kind is TokenKind.TAG else '') + token.text[:40]}"
        return SieveSyntaxError(f"{wanted} is expected, but {found}", token.line)
