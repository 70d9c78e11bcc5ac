"""The crosswalks that rules name, from their Prefect block documents, for the rules engine to ask."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from blocks.crosswalk import CrosswalkClient, CrosswalkTable, CrosswalkTableError, CrosswalkUnreachableError
from tasks.dicom.core.rules import CrosswalkError, CrosswalkLookup, CrosswalkUnavailableError, Rules


class Crosswalks:
    """Crosswalks by name, opened when first asked; the rules engine's `CrosswalkLookup`.

    Answers are remembered, so keep it for a batch of instances and not for longer.
    """

    def __init__(self, blocks: Mapping[str, str]) -> None:
        #: Crosswalk -> name of its block document.
        self._blocks = blocks
        self._clients: dict[str, CrosswalkClient] = {}

    def __call__(self, crosswalk: str, keys: tuple[str, ...]) -> Mapping[str, str | None] | None:
        """The row for these keys; None where there is none.

        Raises:
            CrosswalkError: there is no such block, its table is not as the rules need it, or it has several rows.
            CrosswalkUnavailableError: its database does not answer now.
        """
        try:
            if crosswalk not in self._clients:
                self._clients[crosswalk] = _client(self._blocks[crosswalk])
            return self._clients[crosswalk].lookup(keys)
        except CrosswalkUnreachableError as error:
            raise CrosswalkUnavailableError(f"crosswalk {crosswalk}: {error}") from error
        except CrosswalkTableError as error:
            raise CrosswalkError(f"crosswalk {crosswalk}: {error}") from error


def _client(name: str) -> CrosswalkClient:
    try:
        # Prefect's signature also allows for a call inside an event loop; tasks that evaluate run outside of one.
        block = cast(CrosswalkTable, CrosswalkTable.load(name))
    except ValueError:
        raise CrosswalkError(f"no block document crosswalk-table/{name}") from None
    return block.get_client()


@contextmanager
def open_crosswalks(rules: Rules) -> Iterator[CrosswalkLookup | None]:
    """The crosswalks of the rules while one batch is evaluated; None where the rules have none."""
    if rules.crosswalks:
        yield Crosswalks({name: one.block.partition("/")[2] for name, one in rules.crosswalks.items()})
    else:
        yield None
