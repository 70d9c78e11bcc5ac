"""Prefect's engine in a fresh interpreter, for runs whose code is not preloaded (pull steps, storage, paths).

    python -m deployments.services.warm_worker.engine

The flow run's id comes from `PREFECT__FLOW_RUN_ID`, as for `python -m prefect.engine`.
"""

import runpy

from deployments.services.warm_worker.intent import listen


def main() -> None:
    """Run the engine as Prefect's own process worker does."""
    listen()
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
