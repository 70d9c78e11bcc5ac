"""The warm worker: Prefect flow runs without the seconds that a fresh interpreter costs.

A work pool of type `warm` is served by a worker that keeps one *template* process with Prefect and the project's flows
already imported, and forks each flow run from it. Everything else is Prefect's own: deployments, job variables, limits,
states, logs, cancellation, hooks, and a process for each run.

    python -m deployments.services.warm_worker --pool quintet --work-queue dicom-critical

`prefect worker start --type warm --pool quintet` works as well, because Prefect finds the type by this package's entry
point. Importing it starts nothing. Flow code is read when the worker starts: restart the worker after a change of it.

Parts: `template` (the process that forks), `child` (what runs after the fork), `fork_server` (the worker's end of it),
`records` (which run is whose process), `runs` (one run from Pending to its end), `wakeup` (hears of new runs at once),
`first_runs` (what begins with the worker), `draining` (what ends with it) and `worker` (the Prefect worker).
"""

from deployments.services.warm_worker.worker import WarmWorker

__all__ = ["WarmWorker"]
