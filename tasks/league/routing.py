"""Holds what callers say of routes against Riot's own table, which decides."""

from blocks.riot.routes import platform_route, regional_of, regional_route
from tasks.foundation.lifecycle import logger


def check_routing(actual: str, *, platform: str | None = None, routing: str | None = None) -> str:
    """The regional route that has the matches of a platform; what else was said is logged, and no error.

    Args:
        actual: the platform that is meant.
        platform: what the caller said of it, if anything.
        routing: the regional route that the caller said.

    Raises:
        UnknownRouteError: a platform or region that Riot does not have.
    """
    regional = regional_of(actual)
    if platform is not None and platform_route(platform) != actual:
        logger(platform=actual).info("asking on the platform of the match id", said=platform_route(platform))
    if routing is not None and regional_route(routing) != regional:
        logger(platform=actual).info("asking on the platform's region", regional=regional, said=regional_route(routing))
    return regional
