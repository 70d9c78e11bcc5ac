"""Global concurrency limits, which `quintet apply` makes true.

Code takes slots with `strict=True`, so that one that is missing is an error and not a warning.

A limit without decay bounds how many hold a slot at once. With decay it is a rate: `10 per minute` of a former task is
`limit=1, slot_decay_per_second=10 / 60`, taken where a run is submitted, never per item (a slot costs 10-15 ms).
"""

from pydantic import BaseModel, ConfigDict, Field


class Limit(BaseModel):
    """One global concurrency limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    limit: int = Field(ge=1, description="Slots.")
    slot_decay_per_second: float = Field(0, ge=0, description="Slots freed per second; 0 frees them on release only.")
    reason: str


LIMITS = (
    Limit(
        name="dicom-deliveries",
        limit=4,
        reason="Batches being delivered at once: archives commonly accept a handful of associations from one peer.",
    ),
    Limit(
        name="league-player-sync",
        limit=1,
        slot_decay_per_second=10 / 60,
        reason="Player syncs started, 10 a minute as formerly; what one fetches goes at the rate of the Riot API.",
    ),
    Limit(
        name="league-match-processing",
        limit=1,
        slot_decay_per_second=30 / 60,
        reason="Single matches asked for, 30 a minute.",
    ),
    Limit(
        name="league-timeline-processing",
        limit=1,
        slot_decay_per_second=20 / 60,
        reason="Single timelines asked for, 20 a minute.",
    ),
    Limit(
        name="league-recovery",
        limit=1,
        slot_decay_per_second=5 / 60,
        reason="Recoveries and retries of what failed, 5 a minute.",
    ),
    Limit(
        name="league-maintenance",
        limit=1,
        slot_decay_per_second=1 / 3600,
        reason="Cleaning, once an hour.",
    ),
    Limit(
        name="league-health",
        limit=1,
        slot_decay_per_second=1 / 3600,
        reason="Looking at the health, once an hour.",
    ),
    Limit(
        name="traders-maintenance",
        limit=1,
        slot_decay_per_second=1 / 3600,
        reason="Cleaning of the traders, once an hour.",
    ),
    Limit(
        name="traders-health",
        limit=1,
        slot_decay_per_second=1 / 600,
        reason="Looking at the health of the traders, once in ten minutes.",
    ),
)
