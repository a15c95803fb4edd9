"""Put messages into threads (RFC 5256 §3): by references, or by subject alone.

- Work is linear in messages and references but for the sorting by date; nothing recurses, so a chain may be as long as
  the mailbox.
- A link that would close a circle is not made: trees are kept as sets of their roots, so that is known at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.protocol.imap.sort import ThreadAlgorithm
from server.protocol.imap.threads import Branch, ThreadNode
from server.protocol.mime.base_subject import is_reply
from server.store.repositories.message_order import ThreadRow


def make_threads(algorithm: ThreadAlgorithm, rows: Sequence[ThreadRow]) -> Sequence[ThreadNode]:
    """Threads of these messages (by UID), each node naming a UID; a node without one stands for a message not there."""
    if algorithm is ThreadAlgorithm.ORDEREDSUBJECT:
        return _by_subject(rows)
    return _Forest(rows).threads()


def _by_subject(rows: Sequence[ThreadRow]) -> Sequence[ThreadNode]:
    """ORDEREDSUBJECT: the oldest message of a subject, the others below it."""
    subjects: dict[str, list[ThreadRow]] = {}
    for row in sorted(rows, key=lambda row: row.sent_us):
        subjects.setdefault(row.base_subject, []).append(row)
    return [Branch(first.uid, [ThreadNode(row.uid) for row in later]) for first, *later in subjects.values()]


class _Container(ThreadNode):
    """A message, or one that others refer to; the RFC's "dummy" when `row` is None."""

    __slots__ = ("date", "members", "parent", "row", "up")

    def __init__(self, row: ThreadRow | None) -> None:
        super().__init__(None if row is None else row.uid)
        self.row = row
        self.parent: _Container | None = None
        # Most messages have no answer: what they don't need is not made for a mailbox's every message.
        self.members: list[_Container] | None = None
        self.up: _Container = self
        """Towards the root of its tree."""
        self.date = 0 if row is None else row.sent_us

    @property
    def children(self) -> Sequence[_Container]:
        return self.members or ()

    def root(self) -> _Container:
        found = self
        while found.up is not found:
            found.up = found.up.up
            found = found.up
        return found

    def adopt(self, child: _Container) -> None:
        """Make a root our child, unless it is our own root."""
        if child.parent is None and self.root() is not child:
            child.parent = self
            child.up = self
            self.append(child)

    def append(self, *children: _Container) -> None:
        if self.members is None:
            self.members = []
        self.members += children


class _Forest:
    """THREAD=REFERENCES, step by step as the RFC numbers them."""

    def __init__(self, rows: Sequence[ThreadRow]) -> None:
        self._all: list[_Container] = []
        by_id: dict[str, _Container] = {}
        own: list[_Container] = []
        for row in rows:
            container = _Container(row)
            own.append(container)
            # Of messages with one id the first has it (step 1.A).
            if row.message_id is not None:
                by_id.setdefault(row.message_id, container)
        self._all += own
        chains = [self._chain(row, by_id) for row in rows]
        # Step 1.B before 1.A: a message's own last reference counts more than what others say of it.
        for container, chain in zip(own, chains, strict=True):
            if chain:
                chain[-1].adopt(container)
        for chain in chains:
            for place in range(1, len(chain)):
                chain[place - 1].adopt(chain[place])

    def threads(self) -> Sequence[ThreadNode]:
        roots = [container for container in self._all if container.parent is None]
        order = _parents_first(roots)
        roots = self._pruned(roots, order)
        roots = self._dated(roots)
        roots = self._merged(roots)
        roots = self._dated(roots)
        return roots

    def _chain(self, row: ThreadRow, by_id: dict[str, _Container]) -> list[_Container]:
        chain: list[_Container] = []
        for id_ in row.references:
            container = by_id.get(id_)
            if container is None:
                container = by_id[id_] = _Container(None)
                self._all.append(container)
            chain.append(container)
        return chain

    @staticmethod
    def _pruned(roots: list[_Container], order: list[_Container]) -> list[_Container]:
        """Step 3: dummies without children go, those with children give them up, but for roots with several."""
        for container in reversed(order):
            if container.members is not None and any(child.row is None for child in container.members):
                container.members = [
                    kept
                    for child in container.members
                    for kept in ((child,) if child.row is not None else child.children)
                ]
        kept_roots: list[_Container] = []
        for root in roots:
            if root.row is not None or len(root.children) > 1:
                kept_roots.append(root)
            else:
                kept_roots += root.children
        return kept_roots

    @staticmethod
    def _dated(roots: list[_Container]) -> list[_Container]:
        """Steps 4 and 6: siblings by date; a dummy has the date of its first child."""
        for container in reversed(_parents_first(roots)):
            if container.members:
                container.members.sort(key=_date)
                if container.row is None:
                    container.date = container.members[0].date
        return sorted(roots, key=_date)

    @staticmethod
    def _merged(roots: list[_Container]) -> list[_Container]:
        """Step 5: threads of one base subject become one."""
        table: dict[str, _Container] = {}
        for root in roots:
            subject = _subject(root)
            have = table.get(subject)
            if subject and (have is None or _is_better(root, have)):
                table[subject] = root
        gone: set[int] = set()
        replaced: dict[int, _Container] = {}
        for root in roots:
            subject = _subject(root)
            other = table.get(subject) if subject else None
            if other is None or other is root:
                continue
            gone.add(id(root))
            if other.row is None and root.row is None:
                other.append(*root.children)
            elif other.row is None or (_is_reply(root) and not _is_reply(other)):
                other.append(root)
            else:
                dummy = _Container(None)
                dummy.append(other, root)
                dummy.date = min(other.date, root.date)
                table[subject] = dummy
                replaced[id(other)] = dummy
        return [replaced.get(id(root), root) for root in roots if id(root) not in gone]


def _date(container: _Container) -> int:
    return container.date


def _first(container: _Container) -> ThreadRow | None:
    """The message a thread is named by: its root, or a dummy's first child."""
    if container.row is None and container.children:
        return container.children[0].row
    return container.row


def _subject(container: _Container) -> str:
    row = _first(container)
    return "" if row is None else row.base_subject


def _is_reply(container: _Container) -> bool:
    row = _first(container)
    return row is not None and is_reply(row.subject)


def _is_better(root: _Container, have: _Container) -> bool:
    """Step 5.B: a dummy before a message, an original before a reply."""
    if root.row is None:
        return have.row is not None
    return have.row is not None and _is_reply(have) and not _is_reply(root)


def _parents_first(roots: Sequence[_Container]) -> list[_Container]:
    order = list(roots)
    for container in order:
        order += container.children
    return order
