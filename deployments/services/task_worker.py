"""The task worker: runs what was handed over with `task.delay(...)`.

Background tasks are a convenience and not durable: a killed task worker leaves its task Running, a restarted server
forgets what waited. What must not be lost goes through the ledger and a deployment.

    python -m deployments.services.task_worker
"""

import importlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

from prefect import Task
from prefect.task_worker import serve

import tasks

# Tasks at once: they wait for the outside world most of the time.
LIMIT = 4


def project_tasks() -> list[Task[Any, Any]]:
    """Every Prefect task of the project, each once, in the order of its key."""
    found: dict[str, Task[Any, Any]] = {}
    for module in _modules():
        for value in vars(module).values():
            if isinstance(value, Task) and value.fn.__module__.startswith("tasks."):
                found[value.task_key] = value
    return [found[key] for key in sorted(found)]


def _modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(tasks.__path__, "tasks.")]
    # Core knows no Prefect.
    return [importlib.import_module(name) for name in names if ".core" not in name]


def main() -> int:
    """Serve them until SIGTERM."""
    served = project_tasks()
    if not served:
        print("task worker: the project has no tasks", file=sys.stderr)  # noqa: T201 - the console is the interface
        return 1
    serve(*served, limit=LIMIT, status_server_port=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
