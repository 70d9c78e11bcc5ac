"""`quintet apply`: makes the server what the files say. A second run changes nothing.

Every kind of thing (queues, limits, deployments, ...) says what is wanted, reads what is there, and writes or removes
one item. What was applied is recorded in the Prefect Variable `quintet_applied`, so that what is no longer declared is
removed, and nothing that somebody else made is touched. Two processes may apply at once.
"""

from collections.abc import Callable

from prefect.client.orchestration import PrefectClient

from deployments.apply.kind import Kind
from deployments.apply.kinds import kinds
from deployments.apply.ownership import read_applied, write_applied
from deployments.apply.server import connect
from deployments.catalogue import Catalogue, read_automations, read_catalogue
from deployments.catalogue.checks import catalogue_problems
from deployments.change import Change
from deployments.errors import ConfigurationError
from deployments.pins import check_installed_prefect

Report = Callable[[Change], None]

__all__ = ["Change", "apply_all", "apply_to_server", "differences", "plan_all", "validated_catalogue"]


def validated_catalogue() -> Catalogue:
    """prefect.yaml, after everything that can be checked without a server.

    Raises:
        ConfigurationError: with one line per problem.
    """
    catalogue = read_catalogue()
    problems = catalogue_problems(catalogue)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return catalogue


async def apply_all(*, report: Report = lambda change: None, recreate_work_pool: bool = False) -> list[Change]:
    """Migrate the databases and make the server what the files say.

    Args:
        report: called for each change as soon as it is made.
        recreate_work_pool: delete a pool whose type is another than the setting says, and make it anew.

    Returns:
        What was changed; empty where nothing was.

    Raises:
        ExpectedError: invalid files, no server, a wrong version, a database that cannot be migrated.
        LedgerError: a database cannot be used.
    """
    from deployments.migrations import migrate_all

    # Everything that can be wrong on this side is found before anything is changed on the other.
    check_installed_prefect()
    catalogue = validated_catalogue()
    changes = []
    for change in migrate_all():
        changes.append(change)
        report(change)
    async with connect() as client:
        return changes + await apply_to_server(client, catalogue, report=report, recreate_work_pool=recreate_work_pool)


async def apply_to_server(
    client: PrefectClient,
    catalogue: Catalogue,
    *,
    report: Report = lambda change: None,
    recreate_work_pool: bool = False,
) -> list[Change]:
    """Make the server what the files say; the part of `apply_all` that needs one."""
    changes: list[Change] = []

    def told(change: Change) -> None:
        changes.append(change)
        report(change)

    applied = await read_applied(client)
    wanted = kinds(catalogue, read_automations(), recreate_work_pool=recreate_work_pool)
    for kind in wanted:
        for name, change in await _plan(client, kind, applied.get(kind.name, [])):
            if change.action == "removed":
                continue
            await kind.write(client, name)
            told(change)
        # Recorded before the next kind, so that an apply that dies here leaves nothing unowned.
        applied[kind.name] = sorted({*applied.get(kind.name, []), *await kind.wanted(client)})
        await write_applied(client, applied)
    # What others depend on goes last: a queue after the deployments on it.
    for kind in reversed(wanted):
        for name, change in await _plan(client, kind, applied[kind.name]):
            if change.action == "removed":
                await kind.remove(client, name)
                told(change)
        applied[kind.name] = sorted(await kind.wanted(client))
    for gone in applied.keys() - {kind.name for kind in wanted}:
        del applied[gone]
    await write_applied(client, applied)
    return changes


async def plan_all() -> list[Change]:
    """What `apply_all` would change; changes nothing.

    Raises:
        ExpectedError: invalid files, no server, a wrong version.
        LedgerError: a database cannot be used.
    """
    from deployments.migrations import pending

    validated_catalogue()
    changes = pending()
    async with connect() as client:
        return changes + await differences(client)


async def differences(client: PrefectClient) -> list[Change]:
    """What stands between the files and the server."""
    applied = await read_applied(client)
    changes: list[Change] = []
    for kind in kinds(validated_catalogue(), read_automations()):
        changes += [change for _, change in await _plan(client, kind, applied.get(kind.name, []))]
    return changes


async def _plan(client: PrefectClient, kind: Kind, applied: list[str]) -> list[tuple[str, Change]]:
    wanted = await kind.wanted(client)
    there = await kind.there(client, sorted({*wanted, *applied}))
    plan = []
    for name, values in wanted.items():
        if name not in there:
            plan.append((name, Change("created", kind.name, name)))
        elif differing := sorted(key for key in values if values[key] != there[name].get(key)):
            plan.append((name, Change("changed", kind.name, name, ", ".join(differing))))
    plan += [(name, Change("removed", kind.name, name)) for name in applied if name in there and name not in wanted]
    return plan
