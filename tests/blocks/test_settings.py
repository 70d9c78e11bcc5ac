"""Settings: what is misspelt is told, and what is not ours is left alone."""

import pytest
from pydantic import ValidationError

from blocks.settings import Settings, setting_fields
from deployments.errors import expected


@pytest.mark.parametrize(
    "name",
    ["QUINTET_HOEM", "QUINTET_DATABASE_URI", "QUINTET_DICOM_RECEIVE__PORT", "QUINTET_DICOM__RECEIVE__PROT"],
)
def test_a_misspelt_setting_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValidationError) as raised:
        Settings()
    (problem,) = raised.value.errors()
    assert problem["type"] == "extra_forbidden"
    assert "QUINTET_" + "__".join(map(str, problem["loc"])).upper() == name


@pytest.mark.parametrize(
    "name", ["QUINTET_DEBUG", "QUINTET_SERVICE_HOST", "QUINTET_DICOM_SERVICE_PORT", "QUINTET_PORT"]
)
def test_variables_of_others_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    assert Settings().dicom.receive.port == 11112


@pytest.mark.parametrize("url", ["nonsense", "mysql://reader:secret@db/dicom", "postgresql://db:port/dicom", ""])
def test_only_postgresql_is_a_database_and_no_password_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_DATABASE_URL", url)
    with pytest.raises(ValidationError, match="no PostgreSQL URL") as raised:
        Settings()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["postgresql://u:p@db:5432/dicom", "postgresql+psycopg://db/x", "postgres://u@db/x"])
def test_urls_of_postgresql_are_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_DATABASE_URL", url)
    database_url = Settings().database_url
    assert database_url is not None and database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RIOT_BASE_URL", "http://example.com", "the address must hold {route} once"),
        ("RIOT_BASE_URL", "http://{route}.example.com", "an http address must be on this machine"),
        ("RIOT_API_KEY", "RGAPI-secret and more", "the key is empty, or holds characters that no key has"),
    ],
)
def test_what_cannot_lead_to_riot_is_told_by_its_variable(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"QUINTET_LEAGUE__{name}", value)
    with pytest.raises(ValidationError) as raised:
        Settings()
    message, code = expected(raised.value) or ("", 0)
    assert code == 2 and f"QUINTET_LEAGUE__{name}: {said}" in message
    assert "secret" not in f"{message}{raised.value}"


def test_an_empty_key_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__RIOT_API_KEY", " ")
    assert Settings().league.riot_api_key is None


def test_every_setting_has_a_variable() -> None:
    names = [name for name, _ in setting_fields()]
    assert {"QUINTET_HOME", "QUINTET_DICOM__RECEIVE__PORT"} <= set(names)
    assert len(names) == len(set(names))
