"""What people call the queues, by Riot's queue id. Others are shown by their number."""

from collections.abc import Mapping
from types import MappingProxyType

#: Queues of today and of the last years; the ids are those of Riot's own list (queues.json).
QUEUES: Mapping[int, str] = MappingProxyType(
    {
        0: "Custom",
        400: "Normal Draft",
        420: "Ranked Solo/Duo",
        430: "Normal Blind",
        440: "Ranked Flex",
        450: "ARAM",
        480: "Swiftplay",
        490: "Quickplay",
        700: "Clash",
        720: "ARAM Clash",
        830: "Co-op vs. AI Intro",
        840: "Co-op vs. AI Beginner",
        850: "Co-op vs. AI Intermediate",
        870: "Co-op vs. AI Intro",
        880: "Co-op vs. AI Beginner",
        890: "Co-op vs. AI Intermediate",
        900: "ARURF",
        920: "Poro King",
        940: "Nexus Siege",
        1010: "Snow ARURF",
        1020: "One for All",
        1200: "Nexus Blitz",
        1300: "Nexus Blitz",
        1400: "Ultimate Spellbook",
        1700: "Arena",
        1710: "Arena, 16 players",
        1810: "Swarm, 1 player",
        1820: "Swarm, 2 players",
        1830: "Swarm, 3 players",
        1840: "Swarm, 4 players",
        1900: "URF",
        2000: "Tutorial 1",
        2010: "Tutorial 2",
        2020: "Tutorial 3",
        2300: "Brawl",
        2400: "ARAM: Mayhem",
    }
)

#: `queueType` of league-v4.
RANKED_QUEUES: Mapping[str, str] = MappingProxyType(
    {
        "RANKED_SOLO_5x5": "Ranked Solo/Duo",
        "RANKED_FLEX_SR": "Ranked Flex",
        "RANKED_FLEX_TT": "Ranked Flex 3v3",
        "CHERRY": "Arena",
    }
)


def queue_name(queue_id: int) -> str:
    """What people call a queue, or `queue 1234`."""
    return QUEUES.get(queue_id, f"queue {queue_id}")


def ranked_queue_name(queue_type: str) -> str:
    """What people call a ranked queue, or Riot's own word for it."""
    return RANKED_QUEUES.get(queue_type, queue_type)
