"""Deployments, made from prefect.yaml as `prefect deploy --all` would make them, but only where something differs.

Prefect's command writes every deployment each time, which throws away and makes anew all of its scheduled runs, and
leaves schedules behind that are gone from the file. Here the same functions of Prefect resolve and build what is
wanted; what the server has is compared with it; and the one request that creates or replaces all of it is sent.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from prefect.cli.deploy._models import DeploymentConfig
from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.events.schemas.deployment_triggers import DeploymentTriggerTypes
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema
from prefect.utilities.templating import apply_values, resolve_block_document_references, resolve_variables
from pydantic import TypeAdapter

from deployments.apply.kind import Values
from deployments.catalogue import Catalogue
from deployments.catalogue.checks import load_flow

_TRIGGERS: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)


@dataclass(frozen=True)
class Wanted:
    """One deployment, ready to be sent."""

    flow_name: str
    payload: dict[str, Any]
    schedules: list[DeploymentScheduleCreate]
    triggers: list[DeploymentTriggerTypes]


class Deployments:
    """The deployments of prefect.yaml, named `flow/deployment`."""

    name = "deployment"

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """What is compared of each deployment."""
        return {name: _comparable(wanted) for name, wanted in (await self.resolved(client)).items()}

    async def resolved(self, client: PrefectClient) -> dict[str, Wanted]:
        """Every deployment with its templates filled in, by full name."""
        resolved = {}
        for config in self._catalogue.deployments:
            wanted = await _resolve(client, self._catalogue, config)
            name = f"{wanted.flow_name}/{wanted.payload['name']}"
            await _keep_switched_on(client, name, wanted.schedules)
            resolved[name] = wanted
        return resolved

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """The deployments that exist."""
        found = {}
        for name in names:
            try:
                deployment = await client.read_deployment_by_name(name)
            except ObjectNotFound:
                continue
            values = deployment.model_dump(mode="json")
            limit = deployment.global_concurrency_limit
            values["concurrency_limit"] = limit.limit if limit is not None else None
            values["tags"] = sorted(deployment.tags)
            values["schedules"] = _ordered(
                schedule.model_dump(mode="json", include={"schedule", "active", "parameters"})
                for schedule in deployment.schedules
            )
            found[name] = values
        return found

    async def write(self, client: PrefectClient, name: str) -> None:
        """Create or replace a deployment; its scheduled runs are made anew from its schedules."""
        wanted = (await self.resolved(client))[name]
        flow_id = await client.create_flow_from_name(wanted.flow_name)
        await client.create_deployment(flow_id=flow_id, schedules=wanted.schedules, **wanted.payload)

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Delete a deployment with its schedules; its runs stay as history."""
        try:
            deployment = await client.read_deployment_by_name(name)
            await client.delete_deployment(deployment.id)
        except ObjectNotFound:
            return


async def _resolve(client: PrefectClient, catalogue: Catalogue, config: DeploymentConfig) -> Wanted:
    values: dict[str, Any] = config.model_dump(exclude_unset=True, mode="json")
    values = await resolve_block_document_references(values, client=client)
    values = await resolve_variables(values, client=client)
    values = cast(dict[str, Any], apply_values(values, dict(os.environ), remove_notset=False))
    schedules, triggers = values.pop("schedules", None) or [], values.pop("triggers", None) or []
    # `{{ ctx... }}` is filled in by the worker.
    values = apply_values(values, {}, skip_prefixes=["ctx."])
    flow = load_flow(values["entrypoint"])
    pool = values.get("work_pool") or {}
    limit, options = _concurrency(values.get("concurrency_limit"))
    payload = {
        "name": values["name"],
        "entrypoint": values["entrypoint"],
        "description": values.get("description") or flow.description,
        "version": values.get("version") or flow.version,
        "tags": sorted(values.get("tags") or []),
        "parameters": values.get("parameters") or {},
        "parameter_openapi_schema": parameter_schema(flow).model_dump(mode="json", exclude_unset=True),
        "enforce_parameter_schema": values.get("enforce_parameter_schema", True),
        "work_pool_name": pool.get("name"),
        "work_queue_name": pool.get("work_queue_name"),
        "job_variables": pool.get("job_variables") or {},
        "concurrency_limit": limit,
        "concurrency_options": options,
        "pull_steps": values.get("pull", catalogue.model.pull) or [],
        "paused": values.get("paused"),
    }
    return Wanted(
        flow_name=flow.name,
        payload=payload,
        schedules=[
            DeploymentScheduleCreate(**_schedule_config_to_deployment_schedule(schedule))
            for schedule in apply_values(schedules, {})
        ],
        triggers=[_trigger(trigger) for trigger in triggers],
    )


async def _keep_switched_on(client: PrefectClient, name: str, schedules: list[DeploymentScheduleCreate]) -> None:
    """A schedule declared with `active: false` waits for a person; the one whom it waited for meant it."""
    if all(schedule.active for schedule in schedules):
        return
    try:
        deployment = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return
    switched_on = [schedule.schedule for schedule in deployment.schedules if schedule.active]
    for schedule in schedules:
        schedule.active = schedule.active or any(_same(schedule.schedule, other) for other in switched_on)


def _same(schedule: Any, other: Any) -> bool:
    # An interval has an anchor of the moment in which it was read, where none is written.
    return bool(schedule.model_dump(mode="json") == other.model_dump(mode="json"))


def _concurrency(value: Any) -> tuple[int | None, ConcurrencyOptions | None]:
    if not isinstance(value, dict):
        return value, None
    options = {key: value[key] for key in ("collision_strategy", "grace_period_seconds") if value.get(key) is not None}
    return value.get("limit"), ConcurrencyOptions.model_validate(options) if options else None


def _trigger(spec: dict[str, Any]) -> DeploymentTriggerTypes:
    # Parameters keep their templates: those are filled in from the event.
    values = {key: value for key, value in spec.items() if key != "parameters"}
    values = apply_values(values, {}, warn_on_notset=False)
    if "parameters" in spec:
        values["parameters"] = spec["parameters"]
    return _TRIGGERS.validate_python(values)


def _comparable(wanted: Wanted) -> dict[str, Any]:
    values = dict(wanted.payload)
    # Without a version of its own Prefect makes one up, from the commit or from the file.
    del values["version"]
    if values["paused"] is None:
        # Whoever paused it by hand meant it.
        del values["paused"]
    options: ConcurrencyOptions | None = values["concurrency_options"]
    values["concurrency_options"] = options.model_dump(mode="json") if options is not None else None
    values["schedules"] = _ordered(
        schedule.model_dump(mode="json", include={"schedule", "active", "parameters"}) for schedule in wanted.schedules
    )
    return values


def _ordered(schedules: Any) -> list[dict[str, Any]]:
    return sorted(schedules, key=lambda schedule: json.dumps(schedule, sort_keys=True))
