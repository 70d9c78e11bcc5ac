"""What can go wrong at the exchange.

::

    ExchangeError
    ├── ExchangeRequestError      refused (4xx, or an item that it does not know): sent again it would be refused again
    ├── ExchangeAnswerError       the answer is no JSON, or not of the shape that the exchange documents
    └── ExchangeUnavailableError  429, 5xx and lost connections outlasted all patience (also a ConnectionError)

Each names its item, such as `clearinghouseState of 0x1234…abcd`; no message holds a whole address or a value out of an
answer.
"""


class ExchangeError(Exception):
    """The exchange did not give what was asked for.

    Attributes:
        item: what was asked for, fit for a log.
        status: the HTTP status, None where no answer came.
    """

    def __init__(self, message: str, *, item: str, status: int | None = None) -> None:
        super().__init__(message)
        self.item = item
        self.status = status


class ExchangeRequestError(ExchangeError):
    """The request itself is refused; where `status` is None it was not even sent."""


class ExchangeAnswerError(ExchangeError):
    """The answer is no JSON, or not of the shape that the exchange documents."""


class ExchangeUnavailableError(ExchangeError, ConnectionError):
    """429, 5xx, timeouts or lost connections went on for longer than the client's patience."""
