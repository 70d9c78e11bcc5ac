"""Starts flow runs for associations and writes down which; used by the listener's dispatcher and by the sweep."""

from collections.abc import Sequence

from blocks.engine import session
from tasks.dicom.core.dispatch import DEPLOYMENT, dispatch_key, record_dispatch
from tasks.dicom.core.tables import DOMAIN, Association
from tasks.foundation.core.columns import utc_now


def start_runs(associations: Sequence[Association]) -> int:
    """Start a flow run for each association and write it down.

    Args:
        associations: rows as just read; their `dispatches` number is part of the idempotency key.

    Returns:
        How many were started.

    Raises:
        Exception: what the Prefect client raises; the ones already started are written down.
    """
    # Late, since it costs a second and a hundred megabytes, and the listener must be there first.
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
        for association in associations:
            run = client.create_flow_run_from_deployment(
                deployment.id,
                parameters={"association_id": str(association.id)},
                state=Scheduled(),
                idempotency_key=dispatch_key(association),
                name=f"association-{association.id.hex[:8]}-{association.dispatches + 1}",
            )
            with session(DOMAIN) as opened:
                record_dispatch(
                    opened, association.id, number=association.dispatches + 1, flow_run_id=run.id, now=utc_now()
                )
    return len(associations)
