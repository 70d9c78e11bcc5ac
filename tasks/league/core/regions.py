"""Riot's table of platforms, as far as rows need it: which regional route a platform's matches are on."""

#: routesTable.json of 2026. The client has the same table for its requests; a test holds them equal.
REGIONAL_OF_PLATFORM = {
    "br1": "americas",
    "la1": "americas",
    "la2": "americas",
    "na1": "americas",
    "pbe1": "americas",
    "jp1": "asia",
    "kr": "asia",
    "eun1": "europe",
    "euw1": "europe",
    "me1": "europe",
    "ru": "europe",
    "tr1": "europe",
    "oc1": "sea",
    "ph2": "sea",
    "sg2": "sea",
    "th2": "sea",
    "tw2": "sea",
    "vn2": "sea",
}


def regional_of(platform: str) -> str:
    """The regional route of a platform; empty for one that is not in the table, whose matches are read all the same."""
    return REGIONAL_OF_PLATFORM.get(platform, "")
