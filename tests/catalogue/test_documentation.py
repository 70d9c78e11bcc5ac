"""The docs that are written from the code are up to date, and name what exists."""

import importlib
import re
from collections import Counter

import pytest

from deployments.catalogue import read_catalogue
from deployments.catalogue.checks import load_flow
from deployments.documentation import DOCS, TABLES, filled

FORMER_ROW = re.compile(
    r"^\| `(?P<former>[\w.]+)` \| `from (?P<module>[\w.]+) import (?P<name>\w+)` \| (?P<rest>.*) \|$"
)


@pytest.mark.parametrize("file", sorted({file for file, _ in TABLES}))
def test_tables_are_what_the_code_says(file: str) -> None:
    assert (DOCS / file).read_text() == filled(file), "run `uv run python -m deployments.documentation`"


def test_every_deployment_stands_in_the_table() -> None:
    text = (DOCS / "deployments.md").read_text()
    for raw in read_catalogue().raw:
        assert f"`{load_flow(raw['entrypoint']).name}/{raw['name']}`" in text


def _former() -> list[re.Match[str]]:
    lines = (DOCS / "former-tasks.md").read_text().splitlines()
    return [row for line in lines if (row := FORMER_ROW.match(line))]


def test_every_former_task_of_a_finished_domain_stands_in_the_table() -> None:
    assert Counter(row["module"].split(".")[1] for row in _former()) == {"dicom": 4, "league": 7, "traders": 4}


@pytest.mark.parametrize("row", _former(), ids=lambda row: row["former"].rpartition(".")[2])
def test_every_former_task_has_its_successor(row: re.Match[str]) -> None:
    from prefect.tasks import Task

    from tasks.foundation import retries as retries_of_the_house

    short = importlib.import_module(".".join(row["module"].split(".")[:2]))
    found = getattr(importlib.import_module(row["module"]), row["name"])
    assert isinstance(found, Task)
    assert getattr(short, row["name"]) is found
    for policy, retries in re.findall(r"policy `(\w+)` \((\d+)", row["rest"]):
        assert found.retries == getattr(retries_of_the_house, policy.upper()).retries == int(retries)
    for deployment in re.findall(r"`([\w-]+/[\w-]+)`", row["rest"]):
        assert f"`{deployment}`" in (DOCS / "deployments.md").read_text()


def test_every_former_helper_has_its_successor() -> None:
    rows = re.findall(r"^\| `\w+` \| `(tasks[\w.]+)\.(\w+)`", (DOCS / "former-tasks.md").read_text(), re.MULTILINE)
    assert len(rows) >= 5
    for module, name in rows:
        assert callable(getattr(importlib.import_module(module), name))
