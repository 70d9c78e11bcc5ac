"""Errors that a person is meant to read: one message that says what is wrong and what to do next.

`quintet` prints them without a traceback and exits with their code; `--debug` or `QUINTET_DEBUG=1` shows the traceback.

Errors::

    ExpectedError                 exit code 1
    ├── ConfigurationError        exit code 2: prefect.yaml, automations.yaml or a setting is wrong
    ├── ServerUnreachableError    no Prefect server answers
    ├── WrongPrefectVersionError  Prefect, here or at the server, is not one that quintet is pinned to
    └── MigrationError            a domain's database cannot be brought to the present schema
"""

import sys


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
        return f"{error.strerror}: {error.filename}", 1
    for module, name, code in (
        ("blocks.engine", "LedgerError", 1),
        ("tasks.dicom.core.rules", "RulesError", 2),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(error, kind):
            return str(error), code
    return _settings_error(error) or _unreachable(error)


def _settings_error(error: BaseException) -> tuple[str, int] | None:
    pydantic = sys.modules.get("pydantic_core")
    if pydantic is None or not isinstance(error, pydantic.ValidationError) or error.title != "Settings":
        return None
    lines = ["settings are wrong (docs/settings.md lists all of them):"]
    for problem in error.errors(include_url=False, include_input=False):
        name = "QUINTET_" + "__".join(str(part) for part in problem["loc"]).upper()
        lines.append(f"  {name}: {problem['msg']}")
    return "\n".join(lines), 2


def _unreachable(error: BaseException) -> tuple[str, int] | None:
    httpx = sys.modules.get("httpx")
    if httpx is not None and isinstance(error, httpx.TransportError):
        return f"no Prefect server answers ({error}). Start one with `quintet up`, or set PREFECT_API_URL.", 1
    return None
