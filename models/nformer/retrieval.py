"""Retrieval over a split's rows kept in order of capture, in one pool or online in a buffer."""

from __future__ import annotations

import torch

from features import Crop, Market, retrieval_scores


class Lists:
    """The fixed query and gallery lists as positions in a time-ordered list of crops."""

    def __init__(self, market: Market, split: str, crops: list[Crop]) -> None:
        place = {crop.path.name: index for index, crop in enumerate(crops)}
        self.query, self.gallery = market.retrieval(split)
        self.query_places = [place[crop.path.name] for crop in self.query]
        self.gallery_places = [place[crop.path.name] for crop in self.gallery]


def scores(rows: torch.Tensor, lists: Lists) -> tuple[float, float]:
    """mAP and Rank-1 in percent of rows `[n, D]` given for every crop in order."""
    rows = rows.numpy()
    return retrieval_scores(rows[lists.query_places], rows[lists.gallery_places], lists.query, lists.gallery)


def online_neighbours(rows: torch.Tensor, buffer: int, top_k: int) -> torch.Tensor:
    """Row i of the mask `[n, n]`: the reciprocal neighbours of i at its arrival, in a FIFO buffer of `buffer` rows.

    With one layer a row's output depends on its own neighbours only, so a model given this mask computes
    for every row what the buffer would have computed when the row arrived.
    """
    similarity = (rows @ rows.T).fill_diagonal_(torch.inf)
    mask = torch.eye(len(rows), dtype=torch.bool)
    for last in range(len(rows)):
        first = max(0, last + 1 - buffer)
        nearest = first + similarity[last, first : last + 1].argsort(descending=True, stable=True)[:top_k]
        # `last` has the highest index, so a row loses its place to every one that is as similar.
        rivals = similarity[nearest, first:last] >= similarity[nearest, last, None]
        mask[last, nearest[rivals.sum(dim=1) < top_k]] = True
        mask[last, last] = True
    return mask
