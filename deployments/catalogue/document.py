"""A YAML file that remembers on which line everything stands."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from deployments.errors import ConfigurationError

#: Keys and indexes from the top of the file.
Place = tuple[str | int, ...]
#: Line (from 1) and what is wrong there.
Problem = tuple[int, str]


class Document:
    """The content of a YAML file and the line of each part of it."""

    def __init__(self, path: Path, tree: Any) -> None:
        self.path = path
        self._tree = tree
        self.data: Any = _plain(tree)

    def line(self, path: Place) -> int:
        """The line on which `path` stands, or the nearest part above it that the file has."""
        node, line = self._tree, 1
        for part in path:
            found = _position(node, part)
            if found is None:
                # Pydantic puts the names of union members into its locations: they are no part of the file.
                if isinstance(node, CommentedMap | CommentedSeq):
                    continue
                break
            line = found + 1
            node = node[part]
        return line

    def problem(self, path: Place, text: str) -> Problem:
        """A problem at `path`, with the path in words."""
        return self.line(path), f"{self.words(path)}: {text}"

    def words(self, path: Place) -> str:
        """A path for people: list items that have a name go by it."""
        node, parts = self.data, []
        for part in path:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                if not isinstance(part, str) or isinstance(node, dict):
                    parts.append(str(part))
                continue
            if isinstance(part, int) and isinstance(node, dict):
                parts.append(str(node.get("entrypoint") or node.get("name") or part).rpartition(".")[2])
            else:
                parts.append(str(part))
        return ".".join(parts) or "file"


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigurationError: it is not there, or no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    try:
        return Document(path, YAML(typ="rt").load(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ConfigurationError(f"{path.name}:{line}: no valid YAML: {error.problem}") from error


def _position(node: Any, part: str | int) -> int | None:
    """Line (from 0) of a key or an item, or None where the node does not have it."""
    if isinstance(node, CommentedMap) and part in node:
        # A key that came through `<<` has no line of its own.
        return int(node.lc.key(part)[0]) if part in (node.lc.data or {}) else int(node.lc.line)
    if isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
        return int(node.lc.item(part)[0])
    return None


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            # ruamel's own scalars carry their style; what compares and serialises is the plain value.
            return kind(node)
    return node
