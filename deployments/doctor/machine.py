"""What the machine must have: the pinned packages, a home that can be written, and disk."""

import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from blocks.settings import settings
from deployments.doctor.finding import Finding


def packages() -> list[Finding]:
    """Installed versions against the pins."""
    wrong = []
    for requirement in (Requirement(line) for line in requires("quintet") or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = "missing"
        if found == "missing" or not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found}, needed {requirement.specifier or 'any'}")
    if wrong:
        return [Finding("pins", False, "; ".join(wrong), "Run `uv sync`, or `pip install quintet` again.")]
    return [Finding("pins", True, f"quintet {version('quintet')}, prefect {version('prefect')}")]


def home() -> list[Finding]:
    """Whether files can be made durable in the home."""
    root = settings().root
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=root) as probe:
            probe.write(b"quintet")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        advice = f"Give this user the right to write {root}, or set QUINTET_HOME."
        return [Finding("home", False, f"{root} cannot be written: {error.strerror}", advice)]
    return [Finding("home", True, str(root))]


def disk() -> list[Finding]:
    """Free space against the watermarks of the listener."""
    root = settings().root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    usage = shutil.disk_usage(there)
    receive = settings().dicom.receive
    percent = usage.free / usage.total * 100
    state = f"{usage.free / 1024**3:.1f} GiB free ({percent:.0f} %)"
    if percent < receive.hard_free_percent or usage.free < receive.hard_free_bytes:
        return [Finding("disk", False, f"{state}: senders are turned away", "Make room, or move QUINTET_HOME.")]
    if percent < receive.soft_free_percent:
        return [Finding("disk", False, f"{state}: below the soft watermark", "Make room before senders are refused.")]
    return [Finding("disk", True, state)]
