"""Crosswalk tables: on SQLite and on a real PostgreSQL, with hostile keys and tables that are not as they should be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from pydantic import SecretStr, ValidationError

from blocks.crosswalk import (
    CrosswalkAmbiguousError,
    CrosswalkMismatchError,
    CrosswalkTable,
    CrosswalkUnreachableError,
)
from tasks.dicom.core.rules import CrosswalkError, CrosswalkUnavailableError
from tasks.dicom.crosswalks import Crosswalks

ROWS = [
    {"mrn": "1", "site": 7, "pseudonym": "R1", "shift": 3},
    {"mrn": "2", "site": 7, "pseudonym": None, "shift": 4},
    {"mrn": "3", "site": 7, "pseudonym": "R3", "shift": 5},
    {"mrn": "3", "site": 7, "pseudonym": "R4", "shift": 5},
    {"mrn": "' OR 1=1 --", "site": 8, "pseudonym": "quoted", "shift": 0},
]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def block(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CrosswalkTable]:
    url = f"sqlite:///{tmp_path}/table.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    driver = sqlalchemy.make_url(url)
    if driver.drivername == "postgresql":
        driver = driver.set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(driver)
    table = sqlalchemy.Table(
        "patients",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("mrn", sqlalchemy.String(20)),
        sqlalchemy.Column("site", sqlalchemy.Integer),
        sqlalchemy.Column("pseudonym", sqlalchemy.String(20)),
        sqlalchemy.Column("shift", sqlalchemy.Integer),
    )
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), ROWS)
    yield CrosswalkTable(
        url=SecretStr(url), table="patients", key_columns=["mrn", "site"], value_columns=["pseudonym", "shift"]
    )
    table.drop(engine)
    engine.dispose()


def test_lookup(block: CrosswalkTable) -> None:
    client = block.get_client()
    assert client.lookup(["1", "7"]) == {"pseudonym": "R1", "shift": "3"}
    assert client.lookup(["2", "7"]) == {"pseudonym": None, "shift": "4"}
    assert client.lookup(["1", "8"]) is None
    assert client.lookup(["1", "seven"]) is None
    assert client.lookup(["1", str(10**30)]) is None
    assert client.lookup(["1\0", "7"]) is None


def test_keys_are_bound(block: CrosswalkTable) -> None:
    client = block.get_client()
    assert client.lookup(["' OR 1=1 --", "8"]) == {"pseudonym": "quoted", "shift": "0"}
    assert client.lookup(["'; DROP TABLE patients; --", "7"]) is None
    assert client.lookup(["1", "7"]) is not None


def test_several_rows(block: CrosswalkTable) -> None:
    with pytest.raises(CrosswalkAmbiguousError):
        block.get_client().lookup(["3", "7"])


def test_another_number_of_keys(block: CrosswalkTable) -> None:
    with pytest.raises(CrosswalkMismatchError, match="2 keys are needed, 1 were given"):
        block.get_client().lookup(["1"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"table": "nobody"}, "no table nobody"), ({"value_columns": ["absent"]}, "no column absent")],
)
def test_a_table_that_is_not_so(block: CrosswalkTable, change: dict[str, object], problem: str) -> None:
    with pytest.raises(CrosswalkMismatchError, match=problem):
        block.model_copy(update=change).get_client().lookup(["1", "7"])


def test_the_rules_engines_errors(block: CrosswalkTable, monkeypatch: pytest.MonkeyPatch) -> None:
    away = block.model_copy(update={"url": SecretStr("postgresql://nobody:secret@127.0.0.1:1/x")})
    blocks = {"good": block, "away": away, "wrong": block.model_copy(update={"table": "nobody"})}

    def load(name: str) -> CrosswalkTable:
        if name not in blocks:
            raise ValueError(f"Unable to find block document named {name}")
        return blocks[name]

    monkeypatch.setattr(CrosswalkTable, "load", load)
    lookup = Crosswalks({"good": "good", "away": "away", "wrong": "wrong", "none": "none"})
    assert lookup("good", ("1", "7")) == {"pseudonym": "R1", "shift": "3"}
    with pytest.raises(CrosswalkUnavailableError, match="crosswalk away") as caught:
        lookup("away", ("1", "7"))
    assert "secret" not in str(caught.value)
    with pytest.raises(CrosswalkError, match="crosswalk wrong: the database has no table nobody"):
        lookup("wrong", ("1", "7"))
    with pytest.raises(CrosswalkError, match="no block document crosswalk-table/none"):
        lookup("none", ("1", "7"))


def test_an_unreachable_database() -> None:
    block = CrosswalkTable(
        url=SecretStr("sqlite:////nowhere/at/all.db"), table="t", key_columns=["a"], value_columns=["b"]
    )
    with pytest.raises(CrosswalkUnreachableError):
        block.get_client().lookup(["1"])


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u:secret@127.0.0.1/x"])
def test_urls_that_cannot_be_used(url: str) -> None:
    block = CrosswalkTable(url=SecretStr(url), table="t", key_columns=["a"], value_columns=["b"])
    with pytest.raises(CrosswalkMismatchError) as caught:
        block.get_client()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a b", 'a"', "a;b", "a.b", "", "1a", "x" * 64])
def test_names_are_identifiers(name: str) -> None:
    with pytest.raises(ValidationError):
        CrosswalkTable(url=SecretStr("sqlite://"), table=name, key_columns=["a"], value_columns=["b"])
    with pytest.raises(ValidationError):
        CrosswalkTable(url=SecretStr("sqlite://"), table="t", key_columns=[name], value_columns=["b"])
