"""Insert unless it is there, on SQLite and PostgreSQL."""

from sqlmodel import select

from blocks.engine import session
from tasks.dicom.core.tables import DestinationHealth
from tasks.foundation.core.upsert import insert_if_absent


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
