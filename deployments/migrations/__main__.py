"""Write a migration: `python -m deployments.migrations DOMAIN "what changes"`.

It migrates a scratch SQLite database to the newest revision, compares it with the models and writes the difference.
Read what it wrote before you commit it.
"""

import os
import sys
import tempfile

from blocks.settings import settings
from deployments.migrations import DOMAINS, migrate, new_revision, revisions


def main(arguments: list[str]) -> int:
    """Write the revision; gives the exit code."""
    if len(arguments) != 2 or arguments[0] not in DOMAINS:
        sys.stderr.write(f"usage: python -m deployments.migrations {{{','.join(DOMAINS)}}} MESSAGE\n")
        return 2
    domain, message = arguments
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["QUINTET_HOME"] = scratch
        os.environ.pop("QUINTET_DATABASE_URL", None)
        settings.cache_clear()
        if revisions(domain):
            migrate(domain)
        sys.stdout.write(f"{new_revision(domain, message)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
