"""YAML text as plain values that remember their line.

- YAML 1.2, one document, duplicate keys refused, anchors followed, tags of other languages refused.
- Values are built only where the schema looks, so an alias bomb costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_TAG = "tag:yaml.org,2002:"
LIST_DEPTH_MAX = 4


class DocumentError(Exception):
    """The text isn't one YAML document. `line` counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of the document with its line."""

    line: int
    node: Node

    @property
    def is_map(self) -> bool:
        return isinstance(self.node, MappingNode)

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, ScalarNode) and self.node.tag == _TAG + "null"

    def items(self) -> Iterator[tuple[str, Entry]]:
        """The entries of a map in their order; a key that occurs twice raises DocumentError."""
        seen: dict[str, int] = {}
        for key, value in self.node.value:
            line = _line(key)
            name = str(key.value) if isinstance(key, ScalarNode) else ""
            if not isinstance(key, ScalarNode) or key.tag == _TAG + "merge":
                raise DocumentError(line, "a key must be a plain word")
            if name in seen:
                raise DocumentError(line, f"{name}: given twice, first in line {seen[name]}")
            seen[name] = line
            yield name, Entry(line, value)

    def plain(self, depth: int = 0) -> object:
        """The value as str, int, float, bool, None, list or dict. Raises DocumentError."""
        if depth > LIST_DEPTH_MAX:
            raise DocumentError(self.line, "nested too deeply")
        if isinstance(self.node, SequenceNode):
            return [Entry(_line(item), item).plain(depth + 1) for item in self.node.value]
        if isinstance(self.node, MappingNode):
            return {name: entry.plain(depth + 1) for name, entry in self.items()}
        return _scalar(self.node, self.line)


def compose(text: str) -> Entry | None:
    """Read one document; None when it is empty. Raises DocumentError."""
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}") from error
    except YAMLError as error:
        raise DocumentError(1, f"not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise DocumentError(1, "nested too deeply") from error
    return None if node is None else Entry(_line(node), node)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _scalar(node: Node, line: int) -> object:
    text, tag = str(node.value), str(node.tag).removeprefix(_TAG)
    try:
        match tag:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text.replace("_", ""), 0 if text.lstrip("+-").startswith("0") and len(text) > 1 else 10)
            case "float":
                return float(text.replace("_", ""))
            case "str" | "timestamp" | "value":
                return text
    except ValueError:
        return text
    raise DocumentError(line, f"the tag {node.tag} is not supported")
