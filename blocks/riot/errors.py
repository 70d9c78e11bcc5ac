"""What can go wrong at the Riot API.

::

    RiotError
    ├── RiotKeyError            401, 403: the key is missing, wrong, expired or barred; no request will succeed
    ├── RiotRequestError        other 4xx (400, 405, 415...): this request will never succeed
    │   ├── RiotForeignPuuidError   the puuid was given out to another key
    │   └── UnknownRouteError       no such platform or region (also a ValueError); nothing was sent
    ├── RiotNotFoundError       404: not there, or not there yet
    ├── RiotAnswerError         the answer is no JSON, or not of the shape that Riot documents
    └── RiotUnavailableError    429, 5xx and lost connections outlasted all patience (also a ConnectionError)

No message holds the key, a player's name or a value out of an answer.
"""


class RiotError(Exception):
    """The Riot API did not give what was asked for.

    Attributes:
        status: the HTTP status, None where no answer came.
        method: Riot's name of the operation, such as `match-v5.getMatch`; empty where nothing was sent.
    """

    def __init__(self, message: str, *, status: int | None = None, method: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.method = method


class RiotKeyError(RiotError):
    """401 or 403: the key is missing, wrong, expired or barred. Every other request would fail as well."""


class RiotRequestError(RiotError):
    """Riot refused the request itself; sent again it would be refused again."""


class RiotForeignPuuidError(RiotRequestError):
    """The puuid was given out to another key: puuids are encrypted for each key."""


class UnknownRouteError(RiotRequestError, ValueError):
    """No such platform or region in Riot's routing table."""


class RiotNotFoundError(RiotError):
    """404: not there, or not there yet; Riot lists matches that it cannot give for hours, or ever."""


class RiotAnswerError(RiotError):
    """The answer is no JSON, or not of the shape that Riot documents."""


class RiotUnavailableError(RiotError, ConnectionError):
    """429, 5xx, timeouts or lost connections went on for longer than the client's patience."""
