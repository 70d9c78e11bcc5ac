"""Reads a body as what it must be; the error names the field, never the value."""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from blocks.patience import PassingError
from blocks.riot.errors import RiotAnswerError
from blocks.riot.transport import Request

T = TypeVar("T")

#: Fields that an error names.
_MOST_FIELDS = 3


def read_answer(request: Request, shape: TypeAdapter[T], body: bytes) -> T:
    """The typed answer.

    Raises:
        RiotAnswerError: it is no JSON, or not of this shape.
        PassingError: it is JSON that ends early, as when a proxy loses its own connection; a few tries may better it.
    """
    try:
        return shape.validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    # Raised outside the handler: the validation error holds the whole answer.
    said = f"the answer to {request.name} is"
    reason = f"{said} not of the shape that Riot documents: {_fields(found)}"
    if found[0]["type"] == "json_invalid":
        if "EOF" in found[0]["msg"]:
            reason = f"{said} JSON that ends early, after {len(body)} bytes"
            raise PassingError(reason, status=200, final=RiotAnswerError(reason, status=200, method=request.method))
        reason = f"{said} no JSON{' but HTML' if body.lstrip()[:1] == b'<' else ''}"
    raise RiotAnswerError(reason, status=200, method=request.method)


def _fields(found: list[ErrorDetails]) -> str:
    named = [f"{'.'.join(map(str, one['loc'])) or 'all of it'}: {one['msg']}" for one in found[:_MOST_FIELDS]]
    more = len(found) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")
