"""Run the sandbox until SIGTERM or SIGINT; see `--help`."""

import json
import signal
import sys
from typing import Any

from deployments.sandbox.exchange.options import OptionError, from_command_line
from deployments.sandbox.exchange.server import serve


def main() -> None:
    """Serve what the command line says."""
    options, port = from_command_line()

    def ready(told: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    try:
        server = serve(options, port, ready)
    except OptionError as error:
        sys.exit(str(error))

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run()
    if server.broken is not None:
        raise server.broken


if __name__ == "__main__":
    main()
