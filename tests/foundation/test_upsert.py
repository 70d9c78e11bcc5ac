"""Insert unless it is there, on SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.dicom.core.tables import DestinationHealth
from tasks.foundation.core.upsert import insert_if_absent, insert_unless_present, upsert_rows


def test_only_the_first_inserts_and_all_see_the_same_row(ledger: str) -> None:
    told = []
    for failures in (1, 2):
        with session("dicom") as opened:
            row, inserted = insert_if_absent(
                opened, DestinationHealth(destination="archive", failures=failures), key=("destination",)
            )
            told.append((row.failures, inserted))
    assert told == [(1, True), (1, False)]
    with session("dicom", read_only=True) as opened:
        assert len(opened.exec(select(DestinationHealth)).all()) == 1


def _row(name: str, failures: int) -> dict[str, Any]:
    return DestinationHealth(destination=name, failures=failures).model_dump()


def _stored() -> dict[str, int]:
    with session("dicom", read_only=True) as opened:
        return {row.destination: row.failures for row in opened.exec(select(DestinationHealth))}


def _added(new: Any) -> dict[str, Any]:
    table: Any = DestinationHealth
    return {"failures": table.failures + new.failures}


@pytest.mark.parametrize(
    ("update", "stored"),
    [((), {"a": 1, "b": 2, "c": 9}), (("failures",), {"a": 1, "b": 9, "c": 9}), (_added, {"a": 1, "b": 11, "c": 9})],
)
def test_many_rows_are_inserted_left_replaced_or_added_to(ledger: str, update: Any, stored: dict[str, int]) -> None:
    with session("dicom") as opened:
        upsert_rows(opened, DestinationHealth, [_row("b", 2), _row("a", 1)], key=("destination",))
        upsert_rows(opened, DestinationHealth, [], key=("destination",))
        again = [_row("c", 9), _row("b", 9)]
        upsert_rows(opened, DestinationHealth, again, key=("destination",), update=update)
    assert _stored() == stored


def test_statements_are_told_apart_by_what_they_update(ledger: str) -> None:
    for update, failures in ((("failures",), 3), ((), 3), (_added, 7), (("failures",), 4)):
        with session("dicom") as opened:
            upsert_rows(
                opened,
                DestinationHealth,
                [_row("a", 4 if failures == 7 else failures)],
                key=("destination",),
                update=update,
            )
        assert _stored() == {"a": failures}


def test_of_many_at_once_one_inserts(ledger: str) -> None:
    def insert(failures: int) -> bool:
        with session("dicom") as opened:
            return insert_unless_present(opened, DestinationHealth, _row("a", failures), key=("destination",))

    with ThreadPoolExecutor(4) as pool:
        inserted = list(pool.map(insert, range(8)))
    assert inserted.count(True) == 1
    assert _stored() == {"a": inserted.index(True)}
