"""Which keys may stand where: the fields of the models that Prefect itself reads these files with."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, get_args

from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.events.actions import ActionTypes
from prefect.events.schemas.automations import AutomationCore, TriggerTypes
from prefect.events.schemas.deployment_triggers import DeploymentTriggerTypes
from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_valid_setting_names
from prefect.workers.base import BaseVariables
from pydantic import BaseModel

from blocks.settings import Settings
from deployments.catalogue.document import Document, Place, Problem


def prefect_yaml_keys(document: Document) -> list[Problem]:
    """Keys of prefect.yaml that Prefect would ignore."""
    problems = list(_unknown(document, (), document.data, _fields(PrefectYamlModel)))
    for index, deployment in enumerate(_list(document.data.get("deployments"))):
        problems += _deployment_keys(document, ("deployments", index), deployment)
    return problems


def automation_keys(document: Document) -> list[Problem]:
    """Keys of automations.yaml that Prefect would ignore."""
    problems: list[Problem] = []
    for index, automation in enumerate(document.data):
        problems += _unknown(document, (index,), automation, _fields(AutomationCore))
        if isinstance(automation, dict):
            problems += _typed(document, (index, "trigger"), automation.get("trigger"), TriggerTypes)
            for key in ("actions", "actions_on_trigger", "actions_on_resolve"):
                for number, action in enumerate(_list(automation.get(key))):
                    problems += _typed(document, (index, key, number), action, ActionTypes)
    return problems


def _deployment_keys(document: Document, path: Place, deployment: Any) -> Iterator[Problem]:
    yield from _unknown(document, path, deployment, _fields(DeploymentConfig))
    if not isinstance(deployment, dict):
        return
    pool = deployment.get("work_pool")
    if isinstance(pool, dict):
        yield from _unknown(document, (*path, "work_pool"), pool, _fields(WorkPoolConfig))
        yield from _job_variable_keys(document, (*path, "work_pool", "job_variables"), pool.get("job_variables"))
    if isinstance(deployment.get("concurrency_limit"), dict):
        limit = deployment["concurrency_limit"]
        yield from _unknown(document, (*path, "concurrency_limit"), limit, _fields(ConcurrencyLimitSpec))
    for index, schedule in enumerate(_list(deployment.get("schedules"))):
        yield from _unknown(document, (*path, "schedules", index), schedule, _fields(RawScheduleConfig))
    for index, trigger in enumerate(_list(deployment.get("triggers"))):
        yield from _typed(document, (*path, "triggers", index), trigger, DeploymentTriggerTypes)


def _job_variable_keys(document: Document, path: Place, variables: Any) -> Iterator[Problem]:
    """Variables that every worker type has; Docker's and Kubernetes' own belong into the pool's template."""
    if not isinstance(variables, dict):
        return
    yield from _unknown(document, path, variables, _fields(BaseVariables))
    for name in variables.get("env") or {}:
        known = _environment_names(name)
        if known is not None:
            yield from _unknown(document, (*path, "env"), {name: None}, known)


def _environment_names(name: str) -> Iterable[str] | None:
    if name.startswith("PREFECT_"):
        return _get_valid_setting_names(PrefectSettings)
    if name.startswith("QUINTET_"):
        return _quintet_names(Settings, "QUINTET_")
    return None


def _quintet_names(model: type[BaseModel], prefix: str) -> set[str]:
    names: set[str] = set()
    for field, info in model.model_fields.items():
        name = f"{prefix}{field.upper()}"
        names.add(name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            names |= _quintet_names(info.annotation, f"{name}__")
    return names


def _typed(document: Document, path: Place, value: Any, union: Any) -> Iterator[Problem]:
    """Keys of a mapping whose `type` says which model of the union reads it; triggers may hold triggers."""
    if not isinstance(value, dict):
        return
    members = {_type_of(member): member for member in _members(union)}
    model = members.get(value.get("type", "event"))
    if model is None:
        known = ", ".join(sorted(name for name in members if name))
        yield document.problem((*path, "type"), f"{value.get('type')!r} is not one of {known}")
        return
    yield from _unknown(document, path, value, _fields(model) | {"type"})
    for index, inner in enumerate(_list(value.get("triggers"))):
        yield from _typed(document, (*path, "triggers", index), inner, TriggerTypes)


def _members(union: Any) -> Iterator[type[BaseModel]]:
    """The models of a union, however deep it is annotated."""
    if isinstance(union, type):
        if issubclass(union, BaseModel):
            yield union
        return
    for argument in get_args(union):
        yield from _members(argument)


def _type_of(model: type[BaseModel]) -> str | None:
    default = model.model_fields["type"].default
    return default if isinstance(default, str) else None


def _fields(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields) | {info.alias for info in model.model_fields.values() if info.alias}


def _unknown(document: Document, path: Place, value: Any, known: Iterable[str]) -> Iterator[Problem]:
    if not isinstance(value, dict):
        return
    names = sorted(known)
    for key in value:
        if key not in names:
            near = get_close_matches(key, names, n=1)
            meant = (
                f", did you mean `{near[0]}`?" if near else f" (known: {', '.join(names)})" if len(names) < 30 else ""
            )
            yield document.problem((*path, key), f"unknown key{meant}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
