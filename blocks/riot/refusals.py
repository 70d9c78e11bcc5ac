"""Turns an answer that is no success into the error that says what to do."""

import re
import unicodedata
from collections.abc import Iterable
from http import HTTPStatus

from pydantic import BaseModel, ValidationError

from blocks.riot.errors import (
    RiotAnswerError,
    RiotError,
    RiotForeignPuuidError,
    RiotKeyError,
    RiotNotFoundError,
    RiotRequestError,
)

#: Characters of Riot's own message that an error repeats.
_LONGEST_MESSAGE = 200
#: Keys begin so; a message that repeats one must not be repeated.
_KEY = re.compile(r"RGAPI-[0-9A-Za-z-]+")
_KEY_ADVICE = (
    "Development keys end after 24 hours: make a new one at https://developer.riotgames.com and set it as "
    "QUINTET_LEAGUE__RIOT_API_KEY or in the riot-api block. A key that is new may lack this API, or be barred"
)


class _Status(BaseModel):
    message: str = ""


class _ErrorBody(BaseModel):
    status: _Status = _Status()


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """A text from outside, fit for a log: on one line, short, without keys, names and control characters.

    Args:
        text: such as Riot's message, which may repeat the player's name.
        secrets: what must not be repeated.
    """
    text = _KEY.sub("(key)", text)
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "...", text, flags=re.IGNORECASE)
    text = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


def message_of(body: bytes, secrets: Iterable[str]) -> str:
    """What Riot's `{"status": {"message": ...}}` says, cleaned; empty where the body is something else."""
    try:
        return clean(_ErrorBody.model_validate_json(body).status.message, secrets)
    except ValidationError:
        return ""


def phrase(status: int, message: str = "") -> str:
    """`404 Not Found: Data not found`."""
    try:
        known = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        known = str(status)
    return f"{known}: {message}" if message else known


def refusal(name: str, method: str, status: int, message: str) -> RiotError:
    """The error for an answer that no retry betters.

    Args:
        name: of the request, for the message.
        method: Riot's name of the operation.
        status: anything but 200, 429 and 5xx.
        message: Riot's own, cleaned.
    """
    said = f"{name} was answered {phrase(status, message)}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return RiotKeyError(f"{said}. {_KEY_ADVICE}", status=status, method=method)
    if status == HTTPStatus.NOT_FOUND:
        return RiotNotFoundError(said, status=status, method=method)
    if status == HTTPStatus.BAD_REQUEST and "decrypting" in message.lower():
        return RiotForeignPuuidError(
            f"{said}. The puuid was given out to another API key: look the player up anew by the Riot ID",
            status=status,
            method=method,
        )
    if 400 <= status < 500:
        return RiotRequestError(said, status=status, method=method)
    return RiotAnswerError(f"{said}, which Riot does not document", status=status, method=method)
