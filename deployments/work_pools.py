"""The work pool and its queues, which `quintet apply` makes true.

One queue per former Celery queue. Prefect's priorities run the other way (1 goes first) and are unique in a pool. A
queue's concurrency bounds its runs over all workers: a burst of maintenance leaves room for what is urgent.
"""

from pydantic import BaseModel, ConfigDict, Field


class WorkQueue(BaseModel):
    """One queue of the pool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    priority: int = Field(ge=1, description="1 goes first; unique in the pool.")
    concurrency_limit: int = Field(ge=1, description="Runs at once over all workers.")
    description: str
    #: Whether the second worker of `quintet up` serves it, which serves nothing else.
    critical: bool = False


#: Its type is the setting `QUINTET_WORK_POOL_TYPE`.
WORK_POOL = "quintet"
WORK_POOL_DESCRIPTION = "Every deployment of quintet. Declared in deployments/work_pools.py."

WORK_QUEUES = (
    WorkQueue(
        name="dicom-critical",
        priority=1,
        # A run keeps one batch in memory and one association open to a destination; more than this only queue there.
        concurrency_limit=8,
        description="Received associations: senders wait for their images to arrive.",
        critical=True,
    ),
    WorkQueue(
        name="dicom",
        priority=2,
        concurrency_limit=4,
        description="Files submitted from disk.",
    ),
    WorkQueue(
        name="league-player-sync",
        priority=3,
        # All of them share the rate of one key: more at once are not faster.
        concurrency_limit=4,
        description="Players that somebody asked for.",
    ),
    WorkQueue(
        name="league-match-processing",
        priority=4,
        concurrency_limit=4,
        description="Single matches.",
    ),
    WorkQueue(
        name="league-timeline-processing",
        priority=5,
        concurrency_limit=4,
        description="Single timelines.",
    ),
    WorkQueue(
        name="league-recovery",
        priority=6,
        concurrency_limit=2,
        description="Recoveries, and retries of what failed.",
    ),
    WorkQueue(
        name="league-default",
        priority=7,
        concurrency_limit=2,
        description="Everything else of the league: statistics counted anew.",
    ),
    WorkQueue(
        name="traders-discovery",
        priority=8,
        # The run that follows the stream, and one that finds it running and ends.
        concurrency_limit=2,
        description="The stream of trades, followed for as long as it runs.",
    ),
    WorkQueue(
        name="traders-tracking",
        priority=9,
        concurrency_limit=1,
        description="Positions polled, at the rate that the exchange permits one address.",
    ),
    WorkQueue(
        name="traders-leaderboard",
        priority=10,
        concurrency_limit=1,
        description="Scores and ranks.",
    ),
    WorkQueue(
        name="dicom-maintenance",
        priority=11,
        concurrency_limit=2,
        description="The minute's sweep and the nightly cleaning.",
    ),
    WorkQueue(
        name="league-maintenance",
        priority=12,
        concurrency_limit=2,
        description="Health and cleaning of the league.",
    ),
    WorkQueue(
        name="traders-maintenance",
        priority=13,
        concurrency_limit=2,
        description="Health and cleaning of the traders.",
    ),
)


def critical_queues() -> list[str]:
    """The queues that have a worker of their own in `quintet up`."""
    return [queue.name for queue in WORK_QUEUES if queue.critical]
