"""What must hold between prefect.yaml and the code, beyond its keys. `quintet check` and the tests ask the same."""

import importlib
import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any
from zoneinfo import available_timezones

from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule
from prefect.events.schemas.deployment_triggers import DeploymentTriggerTypes
from prefect.flows import Flow
from pydantic import TypeAdapter, ValidationError

from deployments.catalogue import Catalogue
from deployments.catalogue.document import Place, Problem
from deployments.work_pools import WORK_POOL, WORK_QUEUES

#: Marks every run of quintet's: the automation on missing heartbeats looks at runs with this tag only.
TAG = "quintet"

#: Keys that Prefect knows and `quintet apply` does not do.
UNUSED = {"build", "push", "flow_name", "schedule", "sla"}
UNUSED_REASON = "images are built outside, the flow names itself, and schedules stand in `schedules`"

_TRIGGERS: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)


class EntrypointError(Exception):
    """An entrypoint cannot be imported, or is no flow."""


def load_flow(entrypoint: str) -> Flow[..., Any]:
    """The flow of a module entrypoint, `flows.dicom.sweeps.sweep_associations`.

    Raises:
        EntrypointError: with the reason.
    """
    module, _, name = entrypoint.rpartition(".")
    if not module or ":" in entrypoint:
        raise EntrypointError(f"{entrypoint!r} is no module path: write package.module.flow_function")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EntrypointError(f"{entrypoint} cannot be imported: {error}") from error
    if not isinstance(found, Flow):
        raise EntrypointError(f"{entrypoint} is a {type(found).__name__}, not a flow")
    return found


def catalogue_problems(catalogue: Catalogue) -> list[str]:
    """Everything that is wrong with the deployments, one line each; empty where all is well."""
    problems: list[Problem] = []
    for index, raw in enumerate(catalogue.raw):
        problems += _deployment(catalogue, ("deployments", index), raw)
    problems += _uniqueness(catalogue)
    lines = sorted(set(problems))
    return [f"{catalogue.document.path.name}:{line}: {text}" for line, text in lines]


def _deployment(catalogue: Catalogue, place: Place, raw: dict[str, Any]) -> Iterator[Problem]:
    problem = catalogue.document.problem
    for key in ("name", "entrypoint"):
        if not raw.get(key):
            yield problem(place, f"has no `{key}`")
    for key in UNUSED & raw.keys():
        yield problem((*place, key), f"`{key}` is not used here: {UNUSED_REASON}")
    if raw.get("pull", catalogue.model.pull) != []:
        yield problem((*place, "pull"), "write `pull: []`: entrypoints are modules, and workers have them installed")
    if TAG not in (raw.get("tags") or []):
        yield problem((*place, "tags"), f"the tag `{TAG}` is missing")
    if raw.get("entrypoint"):
        try:
            flow = load_flow(raw["entrypoint"])
        except EntrypointError as error:
            yield problem((*place, "entrypoint"), str(error))
        else:
            yield from _flow_name(catalogue, place, raw["entrypoint"], flow)
            yield from _parameters(catalogue, (*place, "parameters"), flow, raw.get("parameters") or {})
    yield from _work_pool(catalogue, (*place, "work_pool"), raw.get("work_pool") or {})
    for index, schedule in enumerate(raw.get("schedules") or []):
        yield from _schedule(catalogue, (*place, "schedules", index), schedule)
    for index, trigger in enumerate(raw.get("triggers") or []):
        yield from _trigger(catalogue, (*place, "triggers", index), trigger)


def _flow_name(catalogue: Catalogue, place: Place, entrypoint: str, flow: Flow[..., Any]) -> Iterator[Problem]:
    domain = entrypoint.split(".")[1]
    if not flow.name.startswith(f"{domain.replace('_', '-')}-"):
        # Flow names are global in Prefect, and two of one name merge without a word.
        yield catalogue.document.problem((*place, "entrypoint"), f"the flow {flow.name!r} must start with `{domain}-`")


def _parameters(catalogue: Catalogue, place: Place, flow: Flow[..., Any], given: dict[str, Any]) -> Iterator[Problem]:
    wanted = inspect.signature(flow.fn).parameters
    for name in given:
        if name not in wanted:
            yield catalogue.document.problem((*place, name), f"{flow.name} has no such parameter")
    # Those without a default come with each run; a stand-in keeps them out of the validation.
    for name in given.keys() & wanted.keys():
        annotation = inspect.get_annotations(flow.fn, eval_str=True).get(name, Any)
        try:
            TypeAdapter(annotation).validate_python(given[name])
        except ValidationError as error:
            yield catalogue.document.problem((*place, name), error.errors()[0]["msg"])


def _work_pool(catalogue: Catalogue, place: Place, pool: dict[str, Any]) -> Iterator[Problem]:
    if pool.get("name") != WORK_POOL:
        yield catalogue.document.problem((*place, "name"), f"must be `{WORK_POOL}`")
    queues = [queue.name for queue in WORK_QUEUES]
    if pool.get("work_queue_name") not in queues:
        text = f"{pool.get('work_queue_name')!r} is not declared in deployments/work_pools.py ({', '.join(queues)})"
        yield catalogue.document.problem((*place, "work_queue_name"), text)


def _schedule(catalogue: Catalogue, place: Place, schedule: dict[str, Any]) -> Iterator[Problem]:
    problem = catalogue.document.problem
    if not isinstance(schedule.get("active"), bool):
        yield problem(place, "say `active: true` or `active: false`")
    if schedule.get("timezone") not in available_timezones():
        yield problem((*place, "timezone"), f"{schedule.get('timezone')!r} is no time zone: write UTC or Area/City")
        return
    if schedule.get("interval") and not schedule.get("anchor_date"):
        yield problem(place, "an interval needs an `anchor_date`: without one every apply starts it anew")
    if schedule.get("slug") or schedule.get("replaces"):
        yield problem(place, "use no slugs: they keep a schedule alive that was removed here")
    try:
        _schedule_config_to_deployment_schedule(schedule)
    except (ValidationError, ValueError) as error:
        text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        yield problem(place, f"no valid schedule: {text}")


def _trigger(catalogue: Catalogue, place: Place, trigger: dict[str, Any]) -> Iterator[Problem]:
    if not trigger.get("name"):
        yield catalogue.document.problem(place, "a trigger needs a `name`: that is how it is found again")
    try:
        _TRIGGERS.validate_python(trigger)
    except ValidationError as error:
        yield catalogue.document.problem(place, f"no valid trigger: {error.errors()[0]['msg']}")


def _uniqueness(catalogue: Catalogue) -> Iterator[Problem]:
    flows: dict[str, str] = {}
    names: Counter[tuple[str, str]] = Counter()
    triggers: Counter[str] = Counter()
    for index, raw in enumerate(catalogue.raw):
        place = ("deployments", index)
        try:
            flow = load_flow(raw.get("entrypoint") or "")
        except EntrypointError:
            continue
        names[flow.name, str(raw.get("name"))] += 1
        if names[flow.name, str(raw.get("name"))] > 1:
            yield catalogue.document.problem(place, f"{flow.name}/{raw.get('name')} is declared twice")
        if flows.setdefault(flow.name, raw["entrypoint"]) != raw["entrypoint"]:
            yield catalogue.document.problem(place, f"{flows[flow.name]} is also named {flow.name!r}")
        for number, trigger in enumerate(raw.get("triggers") or []):
            triggers[str(trigger.get("name"))] += 1
            if triggers[str(trigger.get("name"))] > 1:
                yield catalogue.document.problem((*place, "triggers", number), "another trigger has this name")
