"""Opens the crosswalks that rules name, from their Prefect block documents, for the rules engine to ask."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import cast

from blocks.crosswalk import CrosswalkClient, CrosswalkTable, CrosswalkTableError, CrosswalkUnreachableError
from tasks.dicom.core.rules import CrosswalkError, CrosswalkLookup, CrosswalkUnavailableError, Rules


class Crosswalks:
    """Open crosswalks by name; the rules engine's `CrosswalkLookup`."""

    def __init__(self, clients: Mapping[str, CrosswalkClient]) -> None:
        self._clients = clients

    def __call__(self, crosswalk: str, keys: tuple[str, ...]) -> Mapping[str, str | None] | None:
        """The row for these keys; None where there is none.

        Raises:
            CrosswalkError: the table is not as the rules need it, or has several rows.
            CrosswalkUnavailableError: its database does not answer now.
        """
        try:
            return self._clients[crosswalk].lookup(keys)
        except KeyError:
            raise CrosswalkError(f"crosswalk {crosswalk}: not opened") from None
        except CrosswalkUnreachableError as error:
            raise CrosswalkUnavailableError(f"crosswalk {crosswalk}: {error}") from error
        except CrosswalkTableError as error:
            raise CrosswalkError(f"crosswalk {crosswalk}: {error}") from error


@contextmanager
def open_crosswalks(rules: Rules) -> Iterator[CrosswalkLookup | None]:
    """The crosswalks of the rules while a batch is evaluated; None where the rules have none.

    Raises:
        ValueError: a block document does not exist.
        CrosswalkMismatchError: a block's URL cannot be used.
    """
    if not rules.crosswalks:
        yield None
        return
    with ExitStack() as stack:
        clients = {}
        for name, crosswalk in rules.crosswalks.items():
            # Outside an event loop, as in a task of ours, this is the block and no coroutine.
            block = cast(CrosswalkTable, CrosswalkTable.load(crosswalk.block.partition("/")[2]))
            clients[name] = stack.enter_context(block.get_client())
        yield Crosswalks(clients)
