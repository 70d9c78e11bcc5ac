"""Prefect Variables."""

from collections.abc import Mapping

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from deployments import variables
from deployments.apply.kind import Values
from deployments.apply.ownership import write_variable


class Variables:
    """The variables of `deployments.variables`."""

    name = "variable"

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """The values."""
        return {name: {"value": value} for name, value in variables.VARIABLES.items()}

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """The variables that exist."""
        found = {name: await client.read_variable_by_name(name) for name in names}
        return {name: {"value": variable.value} for name, variable in found.items() if variable is not None}

    async def write(self, client: PrefectClient, name: str) -> None:
        """Set a variable."""
        await write_variable(client, name, variables.VARIABLES[name])

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Delete a variable."""
        try:
            await client.delete_variable_by_name(name)
        except ObjectNotFound:
            return
