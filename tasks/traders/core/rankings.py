"""Everybody's ranks and scores in one run, as bytes: what a run keeps of all those beyond its first places.

A header of one JSON line says the profiles and how many traders there are; columns follow, little-endian, in the order
of the traders' ids: ids, then for each profile its ranks and its scores. Compressed with zstandard.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

_ID, _RANK, _SCORE = np.dtype("<i8"), np.dtype("<i4"), np.dtype("<f8")
_VERSION = 1
#: No run of ours comes near; a damaged row must not fill the memory.
_LONGEST_BYTES = 1 << 30


class UnreadableRankingError(Exception):
    """These are not the bytes of a ranking; the row is damaged."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks and scores of one run.

    Attributes:
        trader_ids: ascending.
        ranks: by profile; 1 is the best.
        scores: by profile.
    """

    trader_ids: NDArray[np.int64]
    ranks: Mapping[str, NDArray[np.int32]]
    scores: Mapping[str, NDArray[np.float64]]

    def rank_of(self, trader_id: int, profile: str) -> int | None:
        """A trader's rank; None where it was not ranked, or there was no such profile."""
        at = int(np.searchsorted(self.trader_ids, trader_id))
        if profile not in self.ranks or at == len(self.trader_ids) or self.trader_ids[at] != trader_id:
            return None
        return int(self.ranks[profile][at])


def pack(ranking: Ranking) -> bytes:
    """A ranking as bytes."""
    header = {"version": _VERSION, "profiles": list(ranking.ranks), "traders": len(ranking.trader_ids)}
    parts = [json.dumps(header).encode() + b"\n", ranking.trader_ids.astype(_ID).tobytes()]
    for profile in ranking.ranks:
        parts += [ranking.ranks[profile].astype(_RANK).tobytes(), ranking.scores[profile].astype(_SCORE).tobytes()]
    return zstandard.ZstdCompressor(level=3).compress(b"".join(parts))


def unpack(packed: bytes) -> Ranking:
    """The ranking of these bytes.

    Raises:
        UnreadableRankingError: they are damaged, or of a newer version of quintet.
    """
    try:
        content = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_LONGEST_BYTES)
        line, _, columns = content.partition(b"\n")
        header = json.loads(line)
        if header["version"] != _VERSION:
            raise UnreadableRankingError(f"a ranking of version {header['version']}, which a newer quintet wrote")
        return _columns(columns, list(header["profiles"]), int(header["traders"]))
    except (zstandard.ZstdError, ValueError, KeyError, TypeError) as error:
        raise UnreadableRankingError(f"the ranking of a run is damaged: {error}") from error


def _columns(content: bytes, profiles: list[str], traders: int) -> Ranking:
    if len(content) != traders * (8 + len(profiles) * 12):
        raise ValueError("its length is not what its header says")
    at = 0

    def column(kind: np.dtype) -> NDArray:  # type: ignore[type-arg]
        nonlocal at
        begin, at = at, at + traders * kind.itemsize
        return np.frombuffer(content, kind, count=traders, offset=begin)

    ids = column(_ID).astype(np.int64)
    ranks, scores = {}, {}
    for profile in profiles:
        ranks[profile] = column(_RANK).astype(np.int32)
        scores[profile] = column(_SCORE).astype(np.float64)
    return Ranking(ids, ranks, scores)
