"""Run the sandbox until SIGTERM or SIGINT; see `--help`."""

import sys

from deployments.sandbox.riot.options import OptionError, from_command_line
from deployments.sandbox.riot.server import serve
from deployments.sandbox.serving import announce, run_until_signalled


def main() -> None:
    """Serve what the command line says."""
    options, port = from_command_line()
    try:
        server = serve(options, port, announce)
    except OptionError as error:
        sys.exit(str(error))
    run_until_signalled(server)


if __name__ == "__main__":
    main()
