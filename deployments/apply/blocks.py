"""Block types and block documents."""

from collections.abc import Mapping
from uuid import uuid4

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from deployments import block_documents
from deployments.apply.kind import Values


class BlockTypes:
    """Every block class of the package `blocks`.

    A type that is gone from the code is left on the server: to delete it would delete the documents that people filled
    in, secrets and all.
    """

    name = "block type"

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """The types with what the UI shows of them, and the checksum of their fields."""
        return {
            block.get_block_type_slug(): {
                **block._to_block_type().model_dump(
                    mode="json", include={"name", "description", "code_example", "logo_url", "documentation_url"}
                ),
                "fields": block._calculate_schema_checksum(),
            }
            for block in block_documents.block_types()
        }

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """The types that exist, with the checksum where exactly these fields are known."""
        found = {}
        for block in block_documents.block_types():
            checksum = block._calculate_schema_checksum()
            try:
                block_type = await client.read_block_type_by_slug(block.get_block_type_slug())
            except ObjectNotFound:
                continue
            try:
                known = (await client.read_block_schema_by_checksum(checksum)).checksum
            except ObjectNotFound:
                known = None
            found[block.get_block_type_slug()] = {**block_type.model_dump(mode="json"), "fields": known}
        return found

    async def write(self, client: PrefectClient, name: str) -> None:
        """Register a type and its fields; Prefect's own function does that idempotently."""
        block = next(block for block in block_documents.block_types() if block.get_block_type_slug() == name)
        await block.aregister_type_and_schema(client=client)

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Never asked for: `there` knows only what is declared."""


class BlockDocuments:
    """The documents of `deployments.block_documents`, named `type/document`."""

    name = "block document"

    async def wanted(self, client: PrefectClient) -> Mapping[str, Values]:
        """The data of each document."""
        return {
            f"{block.get_block_type_slug()}/{name}": {"data": _data(block)}
            for name, block in block_documents.BLOCK_DOCUMENTS.items()
        }

    async def there(self, client: PrefectClient, names: list[str]) -> Mapping[str, Values]:
        """The documents that exist."""
        found = {}
        for name in names:
            slug, document_name = name.split("/", 1)
            try:
                document = await client.read_block_document_by_name(document_name, slug, include_secrets=True)
            except ObjectNotFound:
                continue
            found[name] = {"data": document.data}
        return found

    async def write(self, client: PrefectClient, name: str) -> None:
        """Save a document over what is there."""
        document_name = name.split("/", 1)[1]
        # A copy: saving marks the object as the saved one, and the declaration is a constant.
        block = block_documents.BLOCK_DOCUMENTS[document_name].model_copy()
        await block.asave(document_name, overwrite=True, client=client)

    async def remove(self, client: PrefectClient, name: str) -> None:
        """Delete a document."""
        slug, document_name = name.split("/", 1)
        try:
            document = await client.read_block_document_by_name(document_name, slug)
            await client.delete_block_document(document.id)
        except ObjectNotFound:
            return


def _data(block: Block) -> object:
    document = block._to_block_document(
        name="any", block_schema_id=uuid4(), block_type_id=uuid4(), include_secrets=True
    )
    return document.model_dump(mode="json", context={"include_secrets": True})["data"]
