"""All kinds of things that `apply` looks after, in the order in which they need each other."""

from collections.abc import Sequence

from prefect.events.schemas.automations import AutomationCore

from deployments.apply.automations import Automations
from deployments.apply.blocks import BlockDocuments, BlockTypes
from deployments.apply.deployments import Deployments
from deployments.apply.kind import Kind
from deployments.apply.limits import Limits
from deployments.apply.variables import Variables
from deployments.apply.work_pools import WorkPools, WorkQueues
from deployments.catalogue import Catalogue


def kinds(
    catalogue: Catalogue, automations: Sequence[AutomationCore], *, recreate_work_pool: bool = False
) -> list[Kind]:
    """The kinds, filled with what the files say."""
    deployments = Deployments(catalogue)
    return [
        WorkPools(recreate=recreate_work_pool),
        WorkQueues(),
        Limits(),
        Variables(),
        BlockTypes(),
        BlockDocuments(),
        deployments,
        Automations(automations, deployments),
    ]
