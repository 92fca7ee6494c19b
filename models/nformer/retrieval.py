"""Retrieval over a split's rows kept in order of capture, in one pool or online in a buffer."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch.nn import functional as F

from features import Crop, Market, retrieval_scores

# As `nformer-edge eval` takes them: frames a second of the recordings, and the longest gap within a track.
FRAMES_PER_SECOND = 25
TRACK_GAP_S = 5


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


def track_numbers(crops: list[Crop]) -> list[int]:
    """The track of each crop in order of capture, as a tracker without a mistake gives them: one person, camera and sequence."""
    latest: dict[tuple[int, int, int], tuple[int, int]] = {}
    numbers: list[int] = []
    count = 0
    for crop in crops:
        key = crop.identity, crop.camera, crop.sequence
        number, frame = latest.get(key, (-1, 0))
        if number < 0 or crop.frame - frame > TRACK_GAP_S * FRAMES_PER_SECOND:
            number, count = count, count + 1
        latest[key] = number, crop.frame
        numbers.append(number)
    return numbers


def track_means(rows: torch.Tensor, tracks: list[int]) -> torch.Tensor:
    """The unit mean of each row's track up to that row, `[n, D]`."""
    sums: dict[int, torch.Tensor] = {}
    means = torch.empty_like(rows)
    for index, track in enumerate(tracks):
        sums[track] = sums.get(track, torch.zeros_like(rows[index])) + rows[index]
        means[index] = F.normalize(sums[track], dim=0)
    return means


def online_neighbours(rows: torch.Tensor, buffer: int, top_k: int, tracks: list[int] | None = None) -> torch.Tensor:
    """Row i of the mask `[n, n]`: the reciprocal neighbours of i at its arrival, in a buffer of `buffer` rows.

    Without `tracks` the buffer holds the last rows; with them the latest row of each of the tracks that were last seen. With
    one layer a row's output depends on its own neighbours only, so a model given this mask computes for every row what
    the buffer would have computed when the row arrived.
    """
    similarity = (rows @ rows.T).fill_diagonal_(torch.inf)
    mask = torch.eye(len(rows), dtype=torch.bool)
    held: OrderedDict[int, int] = OrderedDict()
    for last in range(len(rows)):
        track = last if tracks is None else tracks[last]
        held[track] = last
        held.move_to_end(track)
        if len(held) > buffer:
            held.popitem(last=False)
        places = torch.tensor(list(held.values()))
        nearest = places[similarity[last, places].argsort(descending=True, stable=True)[:top_k]]
        # `last` stands behind all others, so a row loses its place to every one that is as similar.
        rivals = similarity[nearest][:, places[:-1]] >= similarity[nearest, last, None]
        mask[last, nearest[rivals.sum(dim=1) < top_k]] = True
        mask[last, last] = True
    return mask
