"""Defaults that tasks and flows take from Prefect's settings when they are made, which is when a module is imported.

The template imports modules once, with the worker's settings; a deployment declares retries in its own environment
(`PREFECT_TASKS_DEFAULT_RETRIES`). So the template notes who took a default, and each run gives those its own.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.settings import get_current_settings
from prefect.utilities.annotations import NotSet

_RETRIES = ("retries", "retry_delay_seconds")

# Object -> names of the arguments that it was not given. Objects of modules: they live as long as the process.
_took: dict[int, tuple[Any, set[str]]] = {}


_ORIGINALS = {(kind, name): getattr(kind, name) for kind in (Task, Flow) for name in ("__init__", "with_options")}


def note_defaults() -> None:
    """Note from now on which tasks and flows take which defaults. Call it before they are imported."""
    for (kind, name), original in _ORIGINALS.items():
        setattr(kind, name, _noting_init(original) if name == "__init__" else _noting_copy(original))


def _noting_init(original: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        given = signature.bind(self, *args, **options).arguments
        missing = {name for name in _RETRIES if given.get(name) is None}
        if given.get("cache_policy", NotSet) is NotSet:
            missing.add("cache_policy")
        _took[id(self)] = (self, missing)

    return init


def _noting_copy(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def with_options(self: Any, *args: Any, **options: Any) -> Any:
        copy = original(self, *args, **options)
        # A copy is made with the values of the first one, given by whom or not.
        missing = _took[id(self)][1] - {name for name, value in options.items() if value is not NotSet}
        _took[id(copy)] = (copy, missing)
        return copy

    return with_options


def give_defaults() -> None:
    """Give the present defaults to all that took one; what is made from now on takes them by itself."""
    for (kind, name), original in _ORIGINALS.items():
        setattr(kind, name, original)
    settings = get_current_settings()
    for each, missing in _took.values():
        defaults = settings.tasks if isinstance(each, Task) else settings.flows
        if "retries" in missing:
            each.retries = defaults.default_retries
        if "retry_delay_seconds" in missing:
            each.retry_delay_seconds = defaults.default_retry_delay_seconds
        if isinstance(each, Task):
            off = settings.tasks.disable_caching or (settings.tasks.default_no_cache and "cache_policy" in missing)
            each.cache_policy = NO_CACHE if off else each.cache_policy
