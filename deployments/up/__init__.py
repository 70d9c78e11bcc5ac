"""Everything quintet needs on one machine, as children of one process: what `quintet up` and the demo start.

`Stack` starts Prefect's server, applies what the project declares, and starts the workers and the DICOM listener;
`supervisor` keeps them alive and ends them in order.
"""

from deployments.up.stack import Stack, StackOptions

__all__ = ["Stack", "StackOptions"]
