"""The THREAD response (RFC 5256 §4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class ThreadNode:
    """One message by UID, None for one that is not there; without answers, unless a subclass has them."""

    __slots__ = ("uid",)

    def __init__(self, uid: int | None) -> None:
        self.uid = uid

    @property
    def children(self) -> Sequence[ThreadNode]:
        """What answers it."""
        return ()


class Branch(ThreadNode):
    """A message with answers."""

    __slots__ = ("_children",)

    def __init__(self, uid: int | None, children: Sequence[ThreadNode]) -> None:
        super().__init__(uid)
        self._children = children

    @property
    def children(self) -> Sequence[ThreadNode]:
        return self._children


def format_threads(threads: Sequence[ThreadNode], number: Callable[[int], int]) -> bytes:
    """thread-data = "THREAD" [SP 1*thread-list], with CRLF; a chain stands in one list, branches in lists of their own.

    Args:
        number: What a UID is told as.
    """
    parts = [b"* THREAD"]
    if threads:
        parts.append(b" ")
    # Either octets to write or a thread to open, the next one last: no recursion, however deep the thread.
    todo: list[ThreadNode | bytes] = list(reversed(threads))
    while todo:
        step = todo.pop()
        if isinstance(step, bytes):
            parts.append(step)
            continue
        words: list[bytes] = []
        node = step
        while node.uid is not None:
            words.append(b"%d" % number(node.uid))
            if len(node.children) != 1:
                break
            node = node.children[0]
        parts.append(b"(" + b" ".join(words))
        todo.append(b")")
        if node.children:
            todo += reversed(node.children)
            if words:
                todo.append(b" ")
    parts.append(b"\r\n")
    return b"".join(parts)
