"""Rankings as bytes."""

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.rankings import Ranking, UnreadableRankingError, pack, unpack


def ranking(ids: list[int]) -> Ranking:
    ranks = np.random.default_rng(len(ids)).permutation(len(ids)).astype(np.int32) + 1
    return Ranking(
        np.array(sorted(ids), dtype=np.int64),
        {"skill": ranks, "origin": ranks[::-1].copy()},
        {"skill": 1 / ranks, "origin": 0.5 / ranks},
    )


@given(st.lists(st.integers(1, 2**62), unique=True, max_size=50))
def test_what_was_packed_comes_back(ids: list[int]) -> None:
    made = ranking(ids)
    again = unpack(pack(made))
    assert again.trader_ids.tolist() == made.trader_ids.tolist()
    for profile in made.ranks:
        assert again.ranks[profile].tolist() == made.ranks[profile].tolist()
        assert again.scores[profile].tolist() == made.scores[profile].tolist()
    for place, trader_id in enumerate(sorted(ids)):
        assert again.rank_of(trader_id, "skill") == made.ranks["skill"][place]
    assert again.rank_of(0, "skill") is None
    assert again.rank_of(ids[0] if ids else 5, "unheard-of") is None


def damaged() -> list[bytes]:
    whole = pack(ranking([1, 2, 3]))
    content = zstandard.ZstdDecompressor().decompress(whole)
    compress = zstandard.ZstdCompressor().compress
    return [
        b"",
        b"nothing of ours",
        whole[:-4],
        compress(content[:-8]),
        compress(content.replace(b'"version": 1', b'"version": 9')),
        compress(content.replace(b'"traders": 3', b'"traders": 4')),
        compress(b"[]\n"),
        compress(b'{"version": 1}\n'),
    ]


@pytest.mark.parametrize("packed", damaged())
def test_damaged_bytes_are_told(packed: bytes) -> None:
    with pytest.raises(UnreadableRankingError, match=r"damaged|newer"):
        unpack(packed)
