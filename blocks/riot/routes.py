"""Riot's routes: which region has the matches of a platform, and which platform a match id belongs to.

Source: the routing table that the community keeps of Riot's hosts (`routesTable.json`), 2025. Left out are `apac`
(deprecated, no League match was ever there) and the `esports` regions (tournament accounts only).
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from blocks.riot.errors import RiotRequestError, UnknownRouteError

#: Platform route -> the regional route that has its matches.
PLATFORMS: Mapping[str, str] = MappingProxyType(
    {
        "br1": "americas",
        "eun1": "europe",
        "euw1": "europe",
        "jp1": "asia",
        "kr": "asia",
        "la1": "americas",
        "la2": "americas",
        "me1": "europe",
        "na1": "americas",
        "oc1": "sea",
        "pbe1": "americas",
        "ph2": "sea",
        "ru": "europe",
        "sg2": "sea",
        "th2": "sea",
        "tr1": "europe",
        "tw2": "sea",
        "vn2": "sea",
    }
)

#: Platforms that were merged into another (2025-01-08): their hosts are gone, their matches are still there.
MOVED: Mapping[str, str] = MappingProxyType({"ph2": "sg2", "th2": "sg2"})

#: Regional routes that answer match-v5.
REGIONALS: tuple[str, ...] = ("americas", "asia", "europe", "sea")

#: account-v1 answers on three of them, any of which knows every account.
_ACCOUNT_ROUTES: Mapping[str, str] = MappingProxyType({"sea": "asia"})

#: `NA1_5018382378`: the platform and the number of the game there. The longest that the ledger takes is 32.
MATCH_ID = re.compile(r"([A-Z][A-Z0-9]{1,15})_[0-9]{1,15}")
_MATCH_ID_LENGTH = 32


def is_match_id(text: str) -> bool:
    """Whether this has the form of a match id; its platform need not be a known one."""
    return len(text) <= _MATCH_ID_LENGTH and MATCH_ID.fullmatch(text) is not None


def platform_route(platform: str) -> str:
    """The platform as Riot's table has it: `NA1` -> `na1`.

    Raises:
        UnknownRouteError: there is no such platform.
    """
    route = platform.strip().lower()
    if route not in PLATFORMS:
        raise UnknownRouteError(f"no platform is called {_shown(platform)}; Riot's are {', '.join(PLATFORMS)}")
    return route


def platform_host(platform: str) -> str:
    """The platform route that answers for a platform today: `th2` was merged into `sg2`.

    Raises:
        UnknownRouteError: there is no such platform.
    """
    route = platform_route(platform)
    return MOVED.get(route, route)


def regional_route(regional: str) -> str:
    """The regional route as Riot's table has it: `Americas` -> `americas`.

    Raises:
        UnknownRouteError: there is no such region.
    """
    route = regional.strip().lower()
    if route not in REGIONALS:
        raise UnknownRouteError(f"no region is called {_shown(regional)}; Riot's are {', '.join(REGIONALS)}")
    return route


def regional_of(platform: str) -> str:
    """The regional route that has the matches of a platform: `kr` -> `asia`.

    Raises:
        UnknownRouteError: there is no such platform.
    """
    return PLATFORMS[platform_route(platform)]


def platform_of(match_id: str) -> str:
    """The platform that a match was played on, from its id's prefix: `JP1_391732436` -> `jp1`.

    Raises:
        UnknownRouteError: the prefix is no platform's.
        RiotRequestError: this is no match id.
    """
    found = MATCH_ID.fullmatch(match_id) if len(match_id) <= _MATCH_ID_LENGTH else None
    if found is None:
        raise RiotRequestError(f"{_shown(match_id)} is no match id, such as NA1_5018382378")
    return platform_route(found[1])


def regional_of_match(match_id: str) -> str:
    """The regional route that has a match: `JP1_391732436` -> `asia`.

    Raises:
        UnknownRouteError: the prefix is no platform's.
        RiotRequestError: this is no match id.
    """
    return PLATFORMS[platform_of(match_id)]


def account_route(regional: str) -> str:
    """The regional route to ask for accounts: account-v1 is not on `sea`, and every route knows all accounts.

    Raises:
        UnknownRouteError: there is no such region.
    """
    route = regional_route(regional)
    return _ACCOUNT_ROUTES.get(route, route)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MATCH_ID_LENGTH else f"{text[:_MATCH_ID_LENGTH]}...")
