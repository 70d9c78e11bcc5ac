"""The record of what `apply` made: a Prefect Variable, kept on the server that it speaks of."""

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.exceptions import ObjectAlreadyExists

APPLIED = "quintet_applied"


async def read_applied(client: PrefectClient) -> dict[str, list[str]]:
    """Names by kind; empty where nothing was applied yet."""
    found = await client.read_variable_by_name(APPLIED)
    if found is None or not isinstance(found.value, dict):
        return {}
    return {kind: sorted(names) for kind, names in found.value.items()}


async def write_applied(client: PrefectClient, applied: dict[str, list[str]]) -> None:
    """Record the names by kind."""
    if await read_applied(client) != applied:
        await write_variable(client, APPLIED, applied)


async def write_variable(client: PrefectClient, name: str, value: object, tags: list[str] | None = None) -> None:
    """Set a variable, whether it exists or not."""
    try:
        await client.create_variable(VariableCreate(name=name, value=value, tags=tags or ["quintet"]))
    except ObjectAlreadyExists:
        await client.update_variable(VariableUpdate(name=name, value=value, tags=tags or ["quintet"]))
