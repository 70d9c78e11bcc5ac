"""Every block of the project keeps to Prefect's own standard."""

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite

from deployments.block_documents import block_types

BLOCKS = block_types()


def test_blocks_are_found() -> None:
    assert {block.__name__ for block in BLOCKS} >= {"DimsePeer", "Folder"}


class TestBlocks(BlockStandardTestSuite):
    """Docstring, fields with descriptions, logo, code example."""

    @pytest.fixture(params=BLOCKS, ids=lambda block: block.__name__)
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        found: type[Block] = request.param
        return found

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """Prefect accepts only pictures on the web, and these pages must be whole on a machine without it."""
        assert block._logo_url is None
