"""The tables in `docs/` that are written from the code: `python -m deployments.documentation` writes them anew.

Each stands between two comments in its file; a test compares them with the code.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from blocks.settings import Settings
from deployments.catalogue import read_catalogue
from deployments.catalogue.checks import load_flow
from deployments.limits import LIMITS
from deployments.work_pools import WORK_QUEUES

DOCS = Path(__file__).parent.parent / "docs"


def settings_table() -> str:
    """Every setting: variable, type, default, meaning."""
    rows = [
        f"| `{name}` | {kind} | {default} | {text} |" for name, kind, default, text in _settings(Settings, "QUINTET_")
    ]
    return "\n".join(["| variable | type | default | meaning |", "|---|---|---|---|", *rows])


def deployments_table() -> str:
    """Every deployment: when it runs, on which queue, how many at once, its retries, what it does."""
    rows = ["| deployment | runs | queue | at once | retries | does |", "|---|---|---|---|---|---|"]
    for deployment, raw in zip(read_catalogue().deployments, read_catalogue().raw, strict=True):
        flow = load_flow(raw["entrypoint"])
        runs = [_times(schedule) for schedule in raw.get("schedules") or []]
        runs += [f"on `{'`, `'.join(trigger['expect'])}`" for trigger in raw.get("triggers") or []]
        limit = raw.get("concurrency_limit")
        once = f"{limit['limit']}, {limit['collision_strategy']}" if isinstance(limit, dict) else str(limit or "-")
        retries = raw["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_DEFAULT_RETRIES"]
        cells = [
            f"`{flow.name}/{deployment.name}`",
            ", ".join(runs) or "on demand",
            f"`{raw['work_pool']['work_queue_name']}`",
            once,
            retries,
            deployment.description or "",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _times(schedule: dict[str, Any]) -> str:
    """When a schedule runs, and whether it waits to be switched on."""
    when = f"`{schedule['cron']}` {schedule['timezone']}" if "cron" in schedule else f"every {schedule['interval']} s"
    return when if schedule["active"] else f"{when} (once switched on)"


def queues_table() -> str:
    """Every work queue: priority, runs at once, whether a worker of its own serves it."""
    rows = ["| queue | priority | at once | worker of its own | for |", "|---|---|---|---|---|"]
    rows += [
        f"| `{queue.name}` | {queue.priority} | {queue.concurrency_limit} | {'yes' if queue.critical else 'no'} | "
        f"{queue.description} |"
        for queue in WORK_QUEUES
    ]
    return "\n".join(rows)


def limits_table() -> str:
    """Every global concurrency limit."""
    rows = ["| limit | slots | freed | for |", "|---|---|---|---|"]
    rows += [
        f"| `{limit.name}` | {limit.limit} | {_freed(limit.slot_decay_per_second)} | {limit.reason} |"
        for limit in LIMITS
    ]
    return "\n".join(rows)


def _freed(per_second: float) -> str:
    """How often a slot comes back, in the words of the former rates."""
    if not per_second:
        return "on release"
    a_minute = per_second * 60
    return f"{a_minute:g} a minute" if a_minute >= 1 else f"{a_minute * 60:g} an hour"


#: File below `docs/` and name of the place in it -> what stands there.
TABLES: dict[tuple[str, str], Callable[[], str]] = {
    ("settings.md", "settings"): settings_table,
    ("deployments.md", "deployments"): deployments_table,
    ("deployments.md", "queues"): queues_table,
    ("deployments.md", "limits"): limits_table,
}


def filled(file: str) -> str:
    """The text of a file below `docs/` with its tables as they should be."""
    text = (DOCS / file).read_text(encoding="utf-8")
    for (where, name), table in TABLES.items():
        if where == file:
            start, end = f"<!-- {name}: written by deployments/documentation.py -->", f"<!-- end of {name} -->"
            before, rest = text.split(start)
            text = f"{before}{start}\n{table()}\n{end}{rest.split(end, 1)[1]}"
    return text


def _settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield (
                f"{prefix}{name.upper()}",
                _kind(field),
                _default(field),
                (field.description or "").replace("|", "\\|"),
            )


def _kind(field: FieldInfo) -> str:
    annotation = field.annotation
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    for noise in ("typing.", "pathlib._local.", "pathlib.", "ipaddress.", "pydantic.types."):
        text = text.replace(noise, "")
    text = text.removeprefix("Literal").strip("[]") if text.startswith("Literal") else text
    return text.replace("SecretStr", "secret").replace(" | None", "").replace("|", "or")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value == [] or isinstance(value, SecretStr):
        return "-"
    return f"`{value}`"


if __name__ == "__main__":
    for changed in sorted({file for file, _ in TABLES}):
        (DOCS / changed).write_text(filled(changed), encoding="utf-8")
        sys.stdout.write(f"{DOCS / changed}\n")
