"""Global concurrency limits."""

from collections.abc import Mapping

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from deployments import limits
from deployments.apply.kind import Values


class Limits:
    """The limits of `deployments.limits`."""

    name = "limit"

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """Slots and decay of each; all of them active."""
        return {
            limit.name: {**limit.model_dump(include={"limit", "slot_decay_per_second"}), "active": True}
            for limit in limits.LIMITS
        }

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """The limits that exist."""
        found = {}
        for name in names:
            try:
                limit = await client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                continue
            found[name] = limit.model_dump(mode="json", include={"limit", "slot_decay_per_second", "active"})
        return found

    async def write(self, client: PrefectClient, name: str) -> None:
        """Create or update a limit; slots that are taken stay taken."""
        values = (await self.wanted(client))[name]
        try:
            await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, **values))
        except ObjectAlreadyExists:
            await client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(**values))

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Delete a limit."""
        try:
            await client.delete_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return
