"""YAML files as plain texts, lists and mappings that remember their lines.

Every scalar stays the text that was written (`007` keeps its zeros, `no` is no boolean); the models say what it means.
Tags that would make Python objects, merge keys and anything very large are refused.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

#: What a YAML document may be made of.
Plain = str | None | list["Plain"] | dict[str, "Plain"]

# Rules files are written by people; these stop aliases that multiply, and files that are none.
SIZE_LIMIT = 2 * 1024 * 1024
NODE_LIMIT = 200_000
DEPTH_LIMIT = 50
_SAFE = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "timestamp")}


@dataclass
class Document:
    """One file."""

    path: Path
    content: Plain = None
    #: Line of every place, by the keys and indexes that lead to it.
    lines: dict[tuple[str | int, ...], int] = field(default_factory=dict)
    _found: list[tuple[int, str]] = field(default_factory=list)
    _nodes: int = 0

    @property
    def problems(self) -> list[str]:
        """`file:line: field: problem`, in the order of lines."""
        return [text for _, text in sorted(self._found, key=lambda one: one[0])]

    def problem(self, where: tuple[str | int, ...], text: str) -> None:
        """Note a problem at a place, or at the nearest place above it that was written."""
        known = where
        while known and known not in self.lines:
            known = known[:-1]
        self._problem(self.lines.get(known, 1), where, text)

    def _problem(self, line: int, where: tuple[str | int, ...], text: str) -> None:
        self._found.append((line, f"{self.path.name}:{line}: {field_name(where)}: {text}"))

    def read(self) -> None:
        """Fill `content` and `lines`; what is wrong goes to `problems`."""
        try:
            if self.path.stat().st_size > SIZE_LIMIT:
                self._problem(1, (), f"larger than {SIZE_LIMIT} bytes")
                return
            node = YAML(typ="safe", pure=True).compose(self.path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            self._problem(1, (), "not UTF-8 text")
        except OSError as error:
            self._problem(1, (), f"cannot be read: {error.strerror}")
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            self._problem(line, (), f"not YAML: {error.problem}")
        except (YAMLError, RecursionError) as error:
            self._problem(1, (), f"not YAML: {' '.join(str(error).split()) or 'nested too deep'}")
        else:
            if node is not None:
                self.content = self._plain(node, ())

    def _plain(self, node: Node, where: tuple[str | int, ...]) -> Plain:
        self._nodes += 1
        line = node.start_mark.line + 1
        # An alias leads here again from another place; both are where the value was written.
        self.lines.setdefault(where, line)
        if self._nodes > NODE_LIMIT or len(where) > DEPTH_LIMIT:
            if not self.problems:
                self._problem(line, where, "too many values, or nested too deep")
            return None
        if str(node.tag) not in _SAFE:
            self._problem(line, where, f"the tag {node.tag} is not allowed")
            return None
        if isinstance(node, ScalarNode):
            return None if str(node.tag).endswith(":null") else str(node.value)
        if isinstance(node, SequenceNode):
            return [self._plain(item, (*where, index)) for index, item in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return self._mapping(node, where)
        raise AssertionError(f"YAML has no node {type(node).__name__}")

    def _mapping(self, node: MappingNode, where: tuple[str | int, ...]) -> Plain:
        content: dict[str, Plain] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or str(key.tag).endswith(":merge"):
                self._problem(line, where, "keys must be plain words (merge keys are not supported)")
                continue
            name = str(key.value)
            if name in content:
                self._problem(line, (*where, name), "given twice")
            self.lines[(*where, name)] = line
            content[name] = self._plain(value, (*where, name))
        return content


def field_name(where: tuple[str | int, ...]) -> str:
    """A place as people write it: `rulesets[0].rules[1].name`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "file"
