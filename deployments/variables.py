"""Prefect Variables, which `quintet apply` makes true: values that people change in the UI's words, not in code.

Settings of a process belong in `blocks.settings`; here stands only what prefect.yaml or an automation refers to.
"""

from typing import Any

#: Name (lower case, digits, underscores) -> JSON value. None is needed so far.
VARIABLES: dict[str, Any] = {}
