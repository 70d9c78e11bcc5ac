"""Errors that a person is meant to read: one message that says what is wrong and what to do next.

`quintet` prints them without a traceback and exits with their code; `--debug` or `QUINTET_DEBUG=1` shows the traceback.

Errors::

    ExpectedError                 exit code 1
    ├── ConfigurationError        exit code 2: prefect.yaml, automations.yaml or a setting is wrong
    ├── ServerUnreachableError    no Prefect server answers
    ├── WrongPrefectVersionError  Prefect, here or at the server, is not one that quintet is pinned to
    └── MigrationError            a domain's database cannot be brought to the present schema
"""

import json
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import get_origin


class ExpectedError(Exception):
    """Something that happens in ordinary life, with a message for the person who runs the command."""

    exit_code = 1


class ConfigurationError(ExpectedError):
    """A file or setting is wrong; nothing was changed."""

    exit_code = 2


class ServerUnreachableError(ExpectedError):
    """No Prefect server answers at the address in use."""


class WrongPrefectVersionError(ExpectedError):
    """Prefect is not one of the versions that quintet is pinned to."""


class MigrationError(ExpectedError):
    """A domain's database cannot be brought to the present schema."""


def expected(error: BaseException) -> tuple[str, int] | None:
    """The message and exit code of an error that needs no traceback, or None for a fault in quintet itself.

    Looks only at modules that are loaded already, so that asking costs no import.
    """
    if isinstance(error, ExpectedError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}{_home_advice(error.filename)}", 1
    for module, name, code in (
        ("blocks.engine", "LedgerError", 1),
        ("blocks.crosswalk", "CrosswalkTableError", 1),
        ("tasks.dicom.core.rules", "RulesError", 2),
        ("tasks.dicom.deliveries", "UnknownDestinationError", 1),
        ("tasks.dicom.submission", "SubmissionError", 1),
        ("blocks.riot.errors", "RiotError", 1),
        ("tasks.league.api", "RiotKeyMissingError", 1),
        ("tasks.league.account", "PlayerNotFoundError", 1),
        ("tasks.traders.core.board_view", "NoSuchRunError", 1),
        ("tasks.traders.core.trader_view", "UnknownTraderError", 1),
        ("blocks.exchange.errors", "ExchangeError", 1),
        ("flows.submission", "MissingLimitError", 1),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(error, kind):
            return str(error), code
    return _settings_error(error) or _unreachable(error)


def _home_advice(path: object) -> str:
    """What to do where a path is the home's own, whatever part of quintet could not use it."""
    settings = getattr(sys.modules.get("blocks.settings"), "settings", None)
    if settings is None or not isinstance(path, str | os.PathLike):
        return ""
    root = settings().root
    if not Path(os.fsdecode(path)).is_relative_to(root):
        return ""
    return f". The home {root} cannot be used: make it a folder that this user can write, or set QUINTET_HOME."


def _settings_error(error: BaseException) -> tuple[str, int] | None:
    pydantic, sources = sys.modules.get("pydantic_core"), sys.modules.get("pydantic_settings")
    problems: dict[str, list[str]] = {}
    if pydantic is not None and isinstance(error, pydantic.ValidationError) and error.title == "Settings":
        for problem in error.errors(include_url=False, include_input=False):
            name = _variable(problem["loc"])
            unknown = problem["type"] == "extra_forbidden"
            problems.setdefault(name, []).append(_unknown_setting(name) if unknown else _said(problem["msg"]))
    elif sources is not None and isinstance(error, sources.SettingsError):
        # It names the outermost group only.
        problems = {name: ['no JSON list, such as ["one", "two"]'] for name in _unreadable_lists()}
        problems = problems or {"QUINTET_": [str(error)]}
    if not problems:
        return None
    lines = [f"  {name}: {'; '.join(said)}" for name, said in problems.items()]
    return "\n".join(["settings are wrong (docs/settings.md lists all of them):", *lines]), 2


def _said(message: str) -> str:
    """A validator's message without what pydantic puts before it."""
    return message.removeprefix("Value error, ")


def _variable(location: tuple[int | str, ...]) -> str:
    """The environment variable of a problem; what lies inside its value is not part of the name."""
    from blocks.settings import PREFIX, setting_fields

    name = PREFIX + "__".join(str(part) for part in location).upper()
    return next((known for known, _ in setting_fields() if name.startswith(f"{known}__")), name)


def _unreadable_lists() -> list[str]:
    from blocks.settings import setting_fields

    wrong = []
    for name, field in setting_fields():
        if name in os.environ and get_origin(field.annotation) is list:
            try:
                json.loads(os.environ[name])
            except ValueError:
                wrong.append(name)
    return wrong


def _unknown_setting(name: str) -> str:
    from blocks.settings import setting_fields

    near = get_close_matches(name, [known for known, _ in setting_fields()], 1)
    return "no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _unreachable(error: BaseException) -> tuple[str, int] | None:
    httpx = sys.modules.get("httpx")
    if httpx is not None and isinstance(error, httpx.TransportError):
        return f"no Prefect server answers ({error}). Start one with `quintet up`, or set PREFECT_API_URL.", 1
    return None
