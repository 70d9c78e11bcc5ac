"""Reads the rules folder: every `*.yaml` in it, checked as a whole, all problems at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks.dicom.core.destinations import Destination
from tasks.dicom.core.rules.documents import Document, Plain
from tasks.dicom.core.rules.errors import RulesError
from tasks.dicom.core.rules.model import Crosswalk, Rules, RuleSet

_SECTIONS: dict[str, type[BaseModel]] = {"rulesets": RuleSet, "destinations": Destination, "crosswalks": Crosswalk}
Where = tuple[str | int, ...]


def load_rules(folder: Path) -> Rules:
    """Read and check all rules, destinations and crosswalks of a folder.

    Args:
        folder: files `*.yaml` and `*.yml`, each with any of the keys `rulesets`, `destinations`, `crosswalks`; read in
            the order of their names. A folder without files gives no rules.

    Raises:
        RulesError: a line `file:line: field: problem` for everything that is wrong.
    """
    if not folder.is_dir():
        raise RulesError([f"{folder}:1: file: no such folder; write your rules there as *.yaml (docs/dicom-rules.md)"])
    documents = [
        Document(path)
        for path in sorted(folder.iterdir())
        if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
    ]
    for document in documents:
        document.read()
    readable = all(not document.problems for document in documents)
    found: dict[str, list[Any]] = {section: [] for section in _SECTIONS}
    for document in documents:
        _check_document(document, found)
    named = {section: _unique_names(documents, section) for section in _SECTIONS}
    # A file that cannot be read may hold the destinations that others name: one problem, not many.
    if readable:
        for document in documents:
            _check_references(document, named)
    if problems := [problem for document in documents for problem in document.problems]:
        raise RulesError(problems)
    return Rules(
        rulesets=found["rulesets"],
        destinations={entry.name: entry for entry in found["destinations"]},
        crosswalks={entry.name: entry for entry in found["crosswalks"]},
    )


def _check_document(document: Document, found: dict[str, list[Any]]) -> None:
    """Check each entry of each section by its model."""
    content = document.content
    if content is None:
        return
    if not isinstance(content, dict):
        document.problem((), f"must be a mapping with any of {', '.join(_SECTIONS)}")
        return
    for name, entries in content.items():
        if name not in _SECTIONS:
            document.problem((name,), f"unknown (known: {', '.join(_SECTIONS)})")
        elif isinstance(entries, list):
            for index, entry in enumerate(entries):
                try:
                    found[name].append(_SECTIONS[name].model_validate(entry))
                except ValidationError as error:
                    for one in error.errors(include_url=False, include_context=False):
                        place = _written((name, index, *one["loc"]), content, one["type"])
                        document.problem(place, _message(one["msg"], one["type"]))
        elif entries is not None:
            document.problem((name,), "must be a list")


def _written(where: Where, content: Plain, kind: str) -> Where:
    """A place in the model as a place in the file: the names of union members are left out."""
    place: list[str | int] = []
    here: Plain = content
    for index, part in enumerate(where):
        there, inner = _inside(here, part)
        if there:
            here = inner
        # Only a missing field has a place of its own without being written.
        elif not (kind == "missing" and index == len(where) - 1):
            continue
        place.append(part)
    return tuple(place)


def _inside(content: Plain, part: str | int) -> tuple[bool, Plain]:
    if isinstance(content, dict) and isinstance(part, str):
        return part in content, content.get(part)
    if isinstance(content, list) and isinstance(part, int) and part < len(content):
        return True, content[part]
    return False, None


def _message(text: str, kind: str) -> str:
    if kind == "extra_forbidden":
        return "unknown"
    if kind == "missing":
        return "missing"
    return text.removeprefix("Value error, ")


def _entries(content: Plain, *keys: str) -> Iterator[tuple[Where, dict[str, Plain]]]:
    """The mappings in lists below lists: `_entries(content, "rulesets", "rules")` gives every rule with its place."""
    if not isinstance(content, dict) or not isinstance(entries := content.get(keys[0]), list):
        return
    for index, entry in enumerate(entries):
        if isinstance(entry, dict):
            if len(keys) == 1:
                yield (keys[0], index), entry
            else:
                yield from (((keys[0], index, *where), inner) for where, inner in _entries(entry, *keys[1:]))


def _unique_names(documents: list[Document], section: str) -> set[str]:
    first: dict[str, Document] = {}
    for document in documents:
        for where, entry in _entries(document.content, section):
            if isinstance(name := entry.get("name"), str):
                if name in first:
                    document.problem((*where, "name"), f"{name!r} is already in {section} of {first[name].path.name}")
                first.setdefault(name, document)
    return set(first)


def _check_references(document: Document, named: dict[str, set[str]]) -> None:
    """What rules name must exist, and no two rules of a ruleset may have one name."""
    seen: set[tuple[Where, str]] = set()
    for where, rule in _entries(document.content, "rulesets", "rules"):
        if isinstance(name := rule.get("name"), str):
            if (where[:2], name) in seen:
                document.problem((*where, "name"), f"{name!r} is already a rule of this ruleset")
            seen.add((where[:2], name))
        destinations = rule.get("destinations")
        for number, destination in enumerate(destinations if isinstance(destinations, list) else ()):
            if isinstance(destination, str) and destination not in named["destinations"]:
                document.problem((*where, "destinations", number), f"no destination {destination!r}")
        for place, change in _entries(rule, "tag_modifications"):
            crosswalk = change.get("crosswalk")
            if isinstance(crosswalk, str) and crosswalk not in named["crosswalks"]:
                document.problem((*where, *place, "crosswalk"), f"no crosswalk {crosswalk!r}")
