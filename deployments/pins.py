"""What pyproject.toml pins, compared without importing any of it: a wrong Prefect must not come to touch a database."""

from importlib.metadata import requires, version

from packaging.requirements import Requirement

from deployments.errors import WrongPrefectVersionError


def pin(package: str) -> Requirement:
    """What pyproject.toml says about a package."""
    wanted = (Requirement(line) for line in requires("quintet") or [])
    return next(requirement for requirement in wanted if requirement.name == package)


def check_installed_prefect() -> None:
    """Compare the Prefect that is installed with the pin.

    Raises:
        WrongPrefectVersionError: it is outside the pin.
    """
    check_prefect("the installed Prefect", version("prefect"), "Install quintet again, with its pins.")


def check_prefect(what: str, found: str, advice: str) -> None:
    """Compare a Prefect version with the pin.

    Raises:
        WrongPrefectVersionError: it is outside the pin.
    """
    wanted = pin("prefect").specifier
    if not wanted.contains(found, prereleases=True):
        raise WrongPrefectVersionError(f"{what} is version {found}, and quintet needs prefect{wanted}. {advice}")
