"""Reads the rules folder: every `*.yaml` in it, checked as a whole, all problems at once."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from tasks.dicom.core.destinations import Destination
from tasks.dicom.core.rules.documents import Document, Plain
from tasks.dicom.core.rules.errors import RulesError
from tasks.dicom.core.rules.model import Crosswalk, Rules, RuleSet
from tasks.dicom.core.rules.modifications import CrosswalkTag

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
        raise RulesError([f"{folder.name}:1: file: no such folder"])
    documents = [
        Document(path)
        for path in sorted(folder.iterdir())
        if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
    ]
    for document in documents:
        document.read()
    found: dict[str, list[tuple[Any, Document, Where]]] = {section: [] for section in _SECTIONS}
    for document in documents:
        if not document.problems:
            _sections(document, found)
    for section, entries in found.items():
        _unique(entries, section)
    destinations: dict[str, Destination] = {entry.name: entry for entry, _, _ in found["destinations"]}
    crosswalks: dict[str, Crosswalk] = {entry.name: entry for entry, _, _ in found["crosswalks"]}
    # A file that cannot be read may hold the destinations that others name: one problem, not many.
    complete = not any(document.problems for document in documents)
    for ruleset, document, where in found["rulesets"]:
        _check_ruleset(ruleset, document, where, destinations if complete else None, crosswalks if complete else None)
    if problems := [problem for document in documents for problem in document.problems]:
        raise RulesError(problems)
    return Rules(
        rulesets=[entry for entry, _, _ in found["rulesets"]], destinations=destinations, crosswalks=crosswalks
    )


def _sections(document: Document, found: dict[str, list[tuple[Any, Document, Where]]]) -> None:
    content = document.content
    if content is None:
        return
    if not isinstance(content, dict):
        document.problem((), f"must be a mapping with any of {', '.join(_SECTIONS)}")
        return
    for name, entries in content.items():
        if name not in _SECTIONS:
            document.problem((name,), f"unknown (known: {', '.join(_SECTIONS)})")
            continue
        if not isinstance(entries, list):
            if entries is not None:
                document.problem((name,), "must be a list")
            continue
        for index, entry in enumerate(entries):
            where = (name, index)
            try:
                found[name].append((TypeAdapter(_SECTIONS[name]).validate_python(entry), document, where))
            except ValidationError as error:
                for one in error.errors(include_url=False, include_context=False):
                    document.problem(_written((*where, *one["loc"]), content), _message(one["msg"], one["type"]))


def _written(where: Where, content: Plain) -> Where:
    """A place in the model as a place in the file: the names of union members are left out."""
    place: list[str | int] = []
    here: Plain = content
    for index, part in enumerate(where):
        if isinstance(here, dict) and isinstance(part, str):
            if part in here:
                here = here[part]
            elif index < len(where) - 1 or part.endswith("]") or part in ("str", "list[str]"):
                continue
            place.append(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
            place.append(part)
        # Anything else is the name of a union's member.
    return tuple(place)


def _message(text: str, kind: str) -> str:
    if kind == "extra_forbidden":
        return "unknown"
    if kind == "missing":
        return "missing"
    return text.removeprefix("Value error, ")


def _unique(entries: list[tuple[Any, Document, Where]], section: str) -> None:
    first: dict[str, Document] = {}
    for entry, document, where in entries:
        if entry.name in first:
            document.problem(
                (*where, "name"), f"{entry.name!r} is already in {section} of {first[entry.name].path.name}"
            )
        first.setdefault(entry.name, document)


def _check_ruleset(
    ruleset: RuleSet,
    document: Document,
    where: Where,
    destinations: dict[str, Destination] | None,
    crosswalks: dict[str, Crosswalk] | None,
) -> None:
    seen: set[str] = set()
    for index, rule in enumerate(ruleset.rules):
        here = (*where, "rules", index)
        if rule.name in seen:
            document.problem((*here, "name"), f"{rule.name!r} is already a rule of this ruleset")
        seen.add(rule.name)
        for number, name in enumerate(rule.destinations):
            if destinations is not None and name not in destinations:
                document.problem((*here, "destinations", number), f"no destination {name!r}")
        for number, change in enumerate(rule.tag_modifications):
            if isinstance(change, CrosswalkTag) and crosswalks is not None and change.crosswalk not in crosswalks:
                document.problem(
                    (*here, "tag_modifications", number, "crosswalk"), f"no crosswalk {change.crosswalk!r}"
                )
