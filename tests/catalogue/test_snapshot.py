"""The whole catalogue as Prefect is told it, against a stored copy: a change to it is seen in review.

`uv run pytest tests/catalogue --snapshot-update` stores it anew.
"""

from typing import Any

from prefect.utilities.callables import parameter_schema
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from deployments.catalogue import read_automations, read_catalogue
from deployments.catalogue.checks import load_flow
from deployments.limits import LIMITS
from deployments.variables import VARIABLES
from deployments.work_pools import WORK_POOL, WORK_QUEUES


def test_catalogue(snapshot: SnapshotAssertion) -> None:
    assert _catalogue() == snapshot(extension_class=JSONSnapshotExtension)


def _catalogue() -> dict[str, Any]:
    deployments = {}
    for deployment, raw in zip(read_catalogue().deployments, read_catalogue().raw, strict=True):
        flow = load_flow(raw["entrypoint"])
        deployments[f"{flow.name}/{deployment.name}"] = {
            **deployment.model_dump(mode="json", exclude_unset=True),
            "flow_description": (flow.description or "").splitlines()[0],
            "parameter_schema": parameter_schema(flow).model_dump(mode="json", exclude_unset=True),
        }
    return {
        "deployments": deployments,
        "automations": [_sorted(automation.model_dump(mode="json")) for automation in read_automations()],
        "limits": [limit.model_dump() for limit in LIMITS],
        "variables": VARIABLES,
        "work_pool": WORK_POOL,
        "work_queues": [queue.model_dump() for queue in WORK_QUEUES],
    }


def _sorted(automation: dict[str, Any]) -> dict[str, Any]:
    for key in ("after", "expect", "for_each"):
        automation["trigger"][key] = sorted(automation["trigger"][key])
    return automation
