"""The work pool and its queues."""

from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from blocks.settings import settings
from deployments import work_pools
from deployments.apply.kind import Values
from deployments.errors import ConfigurationError, ExpectedError

#: Pool types whose job template is this project's own. Others' are made once and then belong to the operator.
OWN_TEMPLATES = {"warm"}


class WorkPools:
    """The pool `quintet`.

    Args:
        recreate: delete a pool of another type than the setting says; Prefect cannot change it.
    """

    name = "work pool"

    def __init__(self, *, recreate: bool = False) -> None:
        self._recreate = recreate

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """The pool with its type, and its job template where that is ours."""
        values: dict[str, Any] = {
            "type": settings().work_pool_type,
            "description": work_pools.WORK_POOL_DESCRIPTION,
        }
        if values["type"] in OWN_TEMPLATES:
            values["base_job_template"] = await _template(values["type"])
        return {work_pools.WORK_POOL: values}

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """The pools that exist."""
        found = {}
        for name in names:
            try:
                pool = await client.read_work_pool(name)
            except ObjectNotFound:
                continue
            found[name] = pool.model_dump(mode="json", include={"type", "description", "base_job_template"})
        return found

    async def write(self, client: PrefectClient, name: str) -> None:
        """Create or update the pool.

        Raises:
            ExpectedError: it is of another type, and may not be recreated.
        """
        values = dict((await self.wanted(client))[name])
        try:
            existing = await client.read_work_pool(name)
        except ObjectNotFound:
            existing = None
        if existing is not None and existing.type != values["type"]:
            if not self._recreate:
                raise ExpectedError(
                    f"the work pool {name!r} is of type {existing.type!r} and QUINTET_WORK_POOL_TYPE says "
                    f"{values['type']!r}; Prefect cannot change a pool's type. Stop the workers, then run `quintet "
                    "apply --recreate-work-pool`, or `quintet up --recreate-work-pool`: runs that wait in its queues "
                    "are left without a queue, and the next sweep starts their work again."
                )
            await client.delete_work_pool(name)
            existing = None
        if existing is None:
            template = values.get("base_job_template") or await _template(values["type"])
            try:
                await client.create_work_pool(WorkPoolCreate(name=name, **{**values, "base_job_template": template}))
                return
            except ObjectAlreadyExists:
                # Another apply was quicker; what follows makes it the same.
                pass
        del values["type"]
        await client.update_work_pool(name, WorkPoolUpdate(**values))

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Delete a pool with its queues."""
        try:
            await client.delete_work_pool(name)
        except ObjectNotFound:
            return


async def _template(pool_type: str) -> dict[str, Any]:
    template = await get_default_base_job_template_for_infrastructure_type(pool_type)
    if template is None:
        raise ConfigurationError(
            f"no worker type {pool_type!r} is known here: QUINTET_WORK_POOL_TYPE={pool_type} needs the package that "
            f"brings it (prefect-{pool_type}, or quintet itself for `warm`)."
        )
    return template


class WorkQueues:
    """The queues of the pool `quintet`."""

    name = "work queue"

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """The queues, the most urgent first: writing one pushes down those at and below its priority."""
        ordered = sorted(work_pools.WORK_QUEUES, key=lambda queue: queue.priority)
        return {
            queue.name: queue.model_dump(include={"priority", "concurrency_limit", "description"}) for queue in ordered
        }

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """The queues that exist."""
        try:
            queues = await client.read_work_queues(work_pool_name=work_pools.WORK_POOL, limit=200)
        except ObjectNotFound:
            return {}
        fields = {"priority", "concurrency_limit", "description"}
        return {queue.name: queue.model_dump(mode="json", include=fields) for queue in queues if queue.name in names}

    async def write(self, client: PrefectClient, name: str) -> None:
        """Create or update a queue, and put it into its place among the others."""
        values = dict((await self.wanted(client))[name])
        try:
            await client.create_work_queue(name=name, work_pool_name=work_pools.WORK_POOL, **values)
        except ObjectAlreadyExists:
            # The client's own update does not move the other queues out of the way; this route does.
            await client.request(
                "PATCH",
                "/work_pools/{work_pool_name}/queues/{name}",
                path_params={"work_pool_name": work_pools.WORK_POOL, "name": name},
                json=values,
            )

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Delete a queue."""
        try:
            queue = await client.read_work_queue_by_name(name, work_pool_name=work_pools.WORK_POOL)
            await client.delete_work_queue_by_id(queue.id)
        except ObjectNotFound:
            return
