"""What is declared: prefect.yaml and automations.yaml, read strictly.

Prefect ignores keys that it does not know without a word, so a misspelt `concurency_limit` deploys with no limit. Here
every key must be a field of Prefect's own models; what is wrong is told with file, line and the name that was meant.
"""

from pathlib import Path
from typing import Any, TypeVar, cast

from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
from prefect.events.schemas.automations import AutomationCore
from pydantic import BaseModel, ValidationError

from deployments.catalogue.document import Document, Place, Problem, read_document
from deployments.catalogue.keys import automation_keys, prefect_yaml_keys
from deployments.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseModel)

_PACKAGE = Path(__file__).parent.parent


def prefect_yaml_path() -> Path:
    """prefect.yaml: at the root of the repository, or in the installed package.

    Raises:
        ConfigurationError: neither is there.
    """
    for path in (_PACKAGE.parent / "prefect.yaml", _PACKAGE / "prefect.yaml"):
        if path.is_file():
            return path
    raise ConfigurationError(f"prefect.yaml is neither in {_PACKAGE.parent} nor in {_PACKAGE}; install quintet again")


def automations_yaml_path() -> Path:
    """automations.yaml, beside the code that reads it."""
    return _PACKAGE / "automations.yaml"


class Catalogue:
    """prefect.yaml as it stands, its deployments validated by Prefect's model.

    Args:
        document: the file with its lines.
        model: the same as Prefect sees it.
    """

    def __init__(self, document: Document, model: PrefectYamlModel) -> None:
        self.document = document
        self.model = model

    @property
    def raw(self) -> list[dict[str, Any]]:
        """The deployments as they are written."""
        return list(self.document.data.get("deployments") or [])

    @property
    def deployments(self) -> list[DeploymentConfig]:
        """The deployments as Prefect reads them."""
        return self.model.deployments


def read_catalogue(path: Path | None = None) -> Catalogue:
    """Read prefect.yaml.

    Args:
        path: the file; the project's own by default.

    Raises:
        ConfigurationError: no YAML, unknown keys, or values of a wrong type; one line for each.
    """
    document = read_document(path or prefect_yaml_path())
    if not isinstance(document.data, dict):
        raise ConfigurationError(f"{document.path}:1: must be a mapping with the key `deployments`")
    # Misspelt keys first: they are the cause of half of what the model would say.
    _raise_any(document, prefect_yaml_keys(document))
    model, problems = _validated(document, (), PrefectYamlModel, document.data)
    _raise_any(document, problems)
    return Catalogue(document, cast(PrefectYamlModel, model))


def read_automations(path: Path | None = None) -> list[AutomationCore]:
    """Read automations.yaml.

    Args:
        path: the file; the project's own by default.

    Raises:
        ConfigurationError: no YAML, unknown keys, or values of a wrong type; one line for each.
    """
    document = read_document(path or automations_yaml_path())
    if not isinstance(document.data, list):
        raise ConfigurationError(f"{document.path}:1: must be a list of automations")
    _raise_any(document, automation_keys(document))
    problems: list[Problem] = []
    found: list[AutomationCore] = []
    for index, item in enumerate(document.data):
        model, more = _validated(document, (index,), AutomationCore, item)
        problems += more
        if model is not None:
            found.append(model)
    names = [model.name for model in found]
    problems += [
        document.problem((index, "name"), f"{name!r} is the name of two automations")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    _raise_any(document, problems)
    return found


def _validated(
    document: Document, prefix: Place, model: type[Model], value: object
) -> tuple[Model | None, list[Problem]]:
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        found: dict[Place, Problem] = {}
        for problem in error.errors(include_url=False, include_input=False):
            where = problem["loc"]
            # A schedule is tried as each of six models; what the one says that prefect.yaml is written for is enough.
            if "schedules" in where and "RawScheduleConfig" not in str(where[where.index("schedules") + 2 :][:1]):
                continue
            path = (*prefix, *(part for part in where if isinstance(part, int) or part.isidentifier()))
            found.setdefault(path, document.problem(path, problem["msg"]))
        return None, list(found.values())


def _raise_any(document: Document, problems: list[Problem]) -> None:
    if problems:
        lines = sorted(set(problems))
        raise ConfigurationError("\n".join(f"{document.path.name}:{line}: {text}" for line, text in lines))
