"""What every kind of thing on the server must be able to do."""

from collections.abc import Mapping
from typing import Any, Protocol

from prefect.client.orchestration import PrefectClient

#: What is compared: plain JSON values by field.
Values = Mapping[str, Any]


class Kind(Protocol):
    """A kind of thing on the server."""

    @property
    def name(self) -> str:
        """How it is called in messages and in the record of what was applied."""

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """What the files say, by name."""

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """What the server has, for those of the names that exist."""

    async def write(self, client: PrefectClient, name: str) -> None:
        """Make the named thing what is wanted, whether it exists or not; safe to do twice at once."""

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Remove it; no error where it is gone already."""
