"""`quintet doctor`: one finding per thing that can be wrong, with what to do about it."""

import asyncio
from collections.abc import Callable

from pydantic import ValidationError
from pydantic_settings import SettingsError

from blocks.settings import settings
from deployments.doctor.finding import Finding
from deployments.doctor.machine import disk, home, packages
from deployments.doctor.project import catalogue, databases, rules
from deployments.doctor.services import dicom_listener, server
from deployments.errors import expected

__all__ = ["Finding", "examine"]

#: In the order in which they are told: what others stand on comes first.
CHECKS: list[Callable[[], list[Finding]]] = [
    packages,
    home,
    disk,
    databases,
    rules,
    catalogue,
    lambda: asyncio.run(server()),
    dicom_listener,
]


def _asked() -> list[Callable[[], list[Finding]]]:
    """The checks that can be asked: with wrong settings, none of those that need them."""
    try:
        settings()
    except (ValidationError, SettingsError) as error:
        told = expected(error)
        if told is None:
            raise
        wrong = Finding("settings", False, told[0])
        return [packages, lambda: [wrong]]
    return CHECKS


def examine() -> list[Finding]:
    """Ask everything; what a check cannot ask because of an expected error is a finding itself."""
    findings = []
    for check in _asked():
        try:
            findings += check()
        except Exception as error:
            told = expected(error)
            if told is None:
                raise
            findings.append(Finding(getattr(check, "__name__", "server").replace("<lambda>", "server"), False, told[0]))
    return findings
