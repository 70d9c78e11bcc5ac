"""Regular expressions of rules, with a time limit: a pattern that backtracks for ever must not stop the gateway."""

from functools import lru_cache

import regex

# A value is at most a few kilobytes: an honest pattern needs microseconds.
TIME_LIMIT_SECONDS = 0.25


class PatternTimeoutError(Exception):
    """A pattern took longer than its limit."""


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> regex.Pattern[str]:
    """The compiled pattern.

    Raises:
        ValueError: it is no regular expression.
    """
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"no regular expression: {error}") from error


def found(pattern: str, text: str) -> bool:
    """Whether the pattern occurs anywhere in the text.

    Raises:
        PatternTimeoutError: it took too long.
    """
    try:
        return compiled(pattern).search(text, timeout=TIME_LIMIT_SECONDS) is not None
    except TimeoutError as error:
        raise PatternTimeoutError(f"the pattern took longer than {TIME_LIMIT_SECONDS} s") from error


def replaced(pattern: str, replacement: str, text: str) -> str:
    r"""The text with every occurrence replaced; `\1` and `\g<name>` in the replacement are groups.

    Raises:
        PatternTimeoutError: it took too long.
        ValueError: the replacement names a group that the pattern does not have.
    """
    try:
        return compiled(pattern).sub(replacement, text, timeout=TIME_LIMIT_SECONDS)
    except TimeoutError as error:
        raise PatternTimeoutError(f"the pattern took longer than {TIME_LIMIT_SECONDS} s") from error
    except (regex.error, IndexError) as error:
        raise ValueError(f"bad replacement: {error}") from error
