"""Block types and block documents, which `quintet apply` makes true.

Every block class of the package `blocks` is registered, so that a person can fill one in in the UI. Documents with
secrets are made there, or with the class's `save`; here stand only those that the project needs and that hold none.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

import blocks

if TYPE_CHECKING:
    from prefect.blocks.core import Block

#: Document name -> the block. None is needed so far: destinations name the documents that people make.
BLOCK_DOCUMENTS: dict[str, "Block"] = {}


def block_types() -> list[type["Block"]]:
    """Every block class defined in the package `blocks`, by name."""
    from prefect.blocks.core import Block

    found = {
        value
        for module in pkgutil.walk_packages(blocks.__path__, "blocks.")
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, type) and issubclass(value, Block) and value.__module__ == module.name
    }
    return sorted(found, key=lambda block: block.__name__)
