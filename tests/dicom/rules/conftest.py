"""Rules written as YAML in the test, and the moment it happens."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tasks.dicom.core.rules import Evaluation, Rules, Source, evaluate, load_rules

NOW = datetime(2024, 5, 15, 12, 0, tzinfo=UTC)
DESTINATIONS = """
destinations:
  - {name: archive, folder: {path: /archive}}
  - {name: research, folder: {path: /research}}
  - {name: paused, folder: {path: /paused}, enabled: false}
crosswalks:
  - {name: table, block: crosswalk-table/table}
"""
Load = Callable[[str], Rules]
Apply = Callable[..., Evaluation]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Rules from the YAML of rulesets."""

    def rules(text: str) -> Rules:
        (tmp_path / "rules.yaml").write_text(DESTINATIONS + dedent(text), encoding="utf-8")
        return load_rules(tmp_path)

    return rules


@pytest.fixture
def apply(load: Load) -> Apply:
    """One rule with these modifications (YAML list) on a data set."""

    def run(dataset: Dataset, modifications: str, *, extra: str = "", crosswalk: Any = None) -> Evaluation:
        text = (
            "rulesets:\n- name: set\n  rules:\n  - name: rule\n"
            + indent(dedent(extra).strip("\n"), "    ")
            + "\n    tag_modifications:\n"
            + indent(dedent(modifications).strip("\n"), "    ")
            + "\n"
        )
        return evaluate(dataset, load(text), Source(calling_ae="SENDER"), now=NOW, crosswalk=crosswalk)

    return run


def table(rows: Mapping[tuple[str, ...], Mapping[str, str | None]]) -> Callable[..., Any]:
    """A crosswalk as a dictionary."""
    return lambda crosswalk, keys: rows.get(keys)
