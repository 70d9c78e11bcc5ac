"""Automations: those of automations.yaml, and the triggers of prefect.yaml. Found again by their names."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from deployments.apply.deployments import Deployments
from deployments.apply.kind import Values

#: Stands for a deployment that is not there yet, in `quintet check`.
_NO_DEPLOYMENT = UUID(int=0)
#: Sets in Prefect's models: their order means nothing.
_UNORDERED = {"after", "expect", "for_each"}


class Automations:
    """Automations by name.

    Args:
        declared: those of automations.yaml.
        deployments: whose triggers become automations that the deployment owns.
    """

    name = "automation"

    def __init__(self, declared: Sequence[AutomationCore], deployments: Deployments) -> None:
        self._declared = declared
        self._deployments = deployments

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """What is compared of each automation."""
        return {name: _comparable(automation) for name, automation in (await self._all(client)).items()}

    async def _all(self, client: PrefectClient) -> dict[str, AutomationCore]:
        found = {automation.name: automation for automation in self._declared}
        for full_name, deployment in (await self._deployments.resolved(client)).items():
            if not deployment.triggers:
                continue
            try:
                deployment_id = (await client.read_deployment_by_name(full_name)).id
            except ObjectNotFound:
                deployment_id = _NO_DEPLOYMENT
            for trigger in deployment.triggers:
                trigger.set_deployment_id(deployment_id)
                automation = trigger.as_automation()
                found[automation.name] = automation
        return found

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """The automations that exist; of several of one name, how many."""
        found: dict[str, dict[str, Any]] = {}
        for name in names:
            automations = await _named(client, name)
            if automations:
                found[name] = _comparable(automations[0]) | {"copies": len(automations)}
        return found

    async def write(self, client: PrefectClient, name: str) -> None:
        """Replace what has the name; when two processes do so at once, one automation remains.

        The old ones go after the new one is there, so that no event falls between.
        """
        wanted = (await self._all(client))[name]
        values = _comparable(wanted)
        if not any(_comparable(automation) == values for automation in await _named(client, name)):
            await client.create_automation(wanted)
        there = await _named(client, name)
        # The least id among those that are right: every process chooses the same one.
        kept = next((automation.id for automation in there if _comparable(automation) == values), None)
        for automation in there:
            if automation.id != kept:
                await _delete(client, automation)

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Delete every automation of the name."""
        for automation in await _named(client, name):
            await _delete(client, automation)


async def _named(client: PrefectClient, name: str) -> list[Automation]:
    return sorted(await client.read_automations_by_name(name), key=lambda automation: str(automation.id))


async def _delete(client: PrefectClient, automation: Automation) -> None:
    try:
        await client.delete_automation(automation.id)
    except PrefectHTTPStatusError as error:
        # Another process was quicker.
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise


def _comparable(automation: AutomationCore) -> dict[str, Any]:
    values = automation.model_dump(mode="json", include=set(AutomationCore.model_fields) - {"owner_resource"})
    return {**_sorted_sets(values), "copies": 1}


def _sorted_sets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: sorted(inner) if key in _UNORDERED and isinstance(inner, list) else _sorted_sets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_sorted_sets(inner) for inner in value]
    return value
