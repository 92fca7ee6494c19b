"""NFormer (Wang et al., CVPR 2022) with learned, fixed landmark agents and a mean path beside the fused output.

Every tensor may carry leading batch dimensions: rows are `[..., N, D]`, neighbour masks `[..., N, N]`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

FORMAT_VERSION = "1"


@dataclass(frozen=True)
class Shape:
    """What a weights file fixes."""

    width: int = 256
    layers: int = 1
    heads: int = 2
    feed_forward: int = 1024


def width_of_head(shape: Shape) -> int:
    """d = D / H."""
    return shape.width // shape.heads


def reciprocal_neighbours(rows: torch.Tensor, top_k: int, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Mask `R[i, j]`: j is among the k rows most similar to i, and i among those of j.

    `rows` are unit vectors `[..., N, D]`. k above N means N; of equal similarities the lower index wins.
    A row is always its own neighbour, also where a copy of it with a lower index took its place. `valid`
    `[..., N, N]` restricts which pairs may be compared at all.
    """
    similarity = rows @ rows.transpose(-1, -2)
    if valid is not None:
        similarity = similarity.masked_fill(~valid, -math.inf)
    nearest = similarity.argsort(dim=-1, descending=True, stable=True)[..., :top_k]
    near = torch.zeros_like(similarity, dtype=torch.bool).scatter_(-1, nearest, True)
    if valid is not None:
        near &= valid
    return (near & near.transpose(-1, -2)) | torch.eye(rows.shape[-2], dtype=torch.bool)


class Layer(nn.Module):
    """One post-norm transformer layer whose attention sees reciprocal neighbours only."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ffn1 = nn.Linear(width, shape.feed_forward)
        self.ffn2 = nn.Linear(shape.feed_forward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def start_as_mean(self, share: float) -> None:
        """Initial weights with which the layer adds `share` times the weighted mean of a row's neighbours to it.

        V and the output projection pass rows through, the feed-forward block starts at zero.
        """
        width = self.out.in_features
        with torch.no_grad():
            self.qkv.weight[2 * width :] = torch.eye(width)
            self.out.weight.copy_(share * torch.eye(width))
            self.ffn2.weight.zero_()
            for bias in (self.qkv.bias, self.out.bias, self.ffn2.bias):
                bias.zero_()

    def split_heads(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows `[..., N, D]` -> Q, K, V, each `[..., H, N, d]`."""
        parts = self.qkv(rows).unflatten(-1, (3, self.heads, -1))
        return tuple(part.transpose(-2, -3) for part in parts.unbind(-3))

    def agents_of(self, landmarks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Landmark rows `[..., l, D]` -> their K and Q vectors, each `[..., H, l, d]`."""
        queries, keys, _ = self.split_heads(landmarks)
        return keys, queries

    def forward(self, rows: torch.Tensor, neighbours: torch.Tensor, agents: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Rows `[..., N, D]`, mask `[..., N, N]`, agents (K, Q) each `[..., H, l, d]` -> `[..., N, D]`."""
        agent_keys, agent_queries = agents
        queries, keys, values = self.split_heads(rows)
        query_agents = queries @ agent_keys.transpose(-1, -2)
        agent_key = agent_queries @ keys.transpose(-1, -2)
        affinity = query_agents @ agent_key / math.sqrt(queries.shape[-1])
        # -inf outside R gives an exact 0 after the softmax; R holds the diagonal, so no row is empty.
        weights = affinity.masked_fill(~neighbours.unsqueeze(-3), -math.inf).softmax(dim=-1)
        mixed = (weights @ values).transpose(-2, -3).flatten(-2)
        normed = self.norm1(rows + self.dropout(self.out(mixed)))
        hidden = F.gelu(self.ffn1(normed), approximate="tanh")
        return self.norm2(normed + self.dropout(self.ffn2(self.dropout(hidden))))


class NFormer(nn.Module):
    """The layer stack, the output batch norm, fixed agents and the weight of the mean path."""

    def __init__(self, shape: Shape, landmarks: int = 5, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))
        self.bn = nn.BatchNorm1d(shape.width)
        self.mean_weight = nn.Parameter(torch.ones(1))
        head = (shape.layers, 2, shape.heads, landmarks, width_of_head(shape))
        self.agents = nn.Parameter(torch.zeros(head))

    @torch.no_grad()
    def start_as_cosine(self, rows: torch.Tensor, temperature: float, share: float, mean_weight: float) -> None:
        """Initial weights with which attention weighs neighbours by nearly `softmax(cosine / temperature)`.

        Q and K of every head turn a row to the principal directions of `rows` `[n, D]`, and landmark a stands for
        direction a: through l landmarks passes what the first l directions hold of a dot product. The layers then
        add `share` times that mean (see `Layer.start_as_mean`), and batch norm is the identity.
        """
        directions = torch.linalg.svd(rows, full_matrices=False).Vh
        width, head_width = self.shape.width, width_of_head(self.shape)
        for index, layer in enumerate(self.layers):
            layer.start_as_mean(share)
            # Rows have length 1 before the first layer and sqrt(D), from the layer norm, after it.
            squared_length = 1 if index == 0 else width
            for head in range(self.shape.heads):
                for part in (0, width):
                    first = part + head * head_width
                    layer.qkv.weight[first : first + head_width] = directions[:head_width]
            landmark = torch.eye(self.agents.shape[3], head_width) * math.sqrt(math.sqrt(head_width) / (temperature * squared_length))
            self.agents[index] = landmark
        self.mean_weight.fill_(mean_weight)

    def fixed_agents(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The stored (K, Q) agents of a layer, each `[H, l, d]`."""
        return self.agents[layer, 0], self.agents[layer, 1]

    def layer_outputs(self, rows: torch.Tensor, neighbours: torch.Tensor, landmark_rows: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Output of every layer, each `[..., N, D]`.

        `landmark_rows` `[l]` takes the agents from those rows of the input, as the reference does; without
        it the fixed agents are used.
        """
        outputs = []
        for index, layer in enumerate(self.layers):
            if landmark_rows is None:
                agents = self.fixed_agents(index)
            else:
                agents = layer.agents_of(rows[..., landmark_rows, :])
            rows = layer(rows, neighbours, agents)
            outputs.append(rows)
        return outputs

    def normed(self, fused: torch.Tensor) -> torch.Tensor:
        """The batch norm over the last axis of `[..., N, D]`."""
        return self.bn(fused.reshape(-1, fused.shape[-1])).view_as(fused)

    def head(self, rows: torch.Tensor, neighbours: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """`L2(L2(output) + w * L2(mean of the input over R(i)))`, `[..., N, D]`."""
        mean = F.normalize(neighbourhood_mean(rows, neighbours), dim=-1)
        return F.normalize(F.normalize(output, dim=-1) + self.mean_weight * mean, dim=-1)

    def forward(self, rows: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
        """Unit rows `[..., N, D]` and their mask -> final unit rows, with the fixed agents."""
        return self.head(rows, neighbours, self.normed(self.layer_outputs(rows, neighbours)[-1]))


def neighbourhood_mean(rows: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Mean of the rows `[..., N, D]` over each row's neighbours."""
    weights = neighbours.to(rows.dtype)
    return weights @ rows / weights.sum(dim=-1, keepdim=True)


def save(model: NFormer, path: Path, top_k: int, trained_on: str) -> None:
    """Writes the weights in the names the Rust side reads, float32."""
    tensors = {name: value for name, value in model.state_dict().items() if name.startswith("layers.")}
    tensors |= {f"bn.{name}": getattr(model.bn, name) for name in ("weight", "bias", "running_mean", "running_var")}
    for layer in range(model.shape.layers):
        for name, agents in zip("kq", model.fixed_agents(layer), strict=True):
            tensors[f"layers.{layer}.agents.{name}"] = agents
    tensors["head.mean_weight"] = model.mean_weight
    tensors = {name: value.detach().float().contiguous().clone() for name, value in tensors.items()}
    metadata = {key: str(value) for key, value in asdict(model.shape).items()}
    metadata |= {"format_version": FORMAT_VERSION, "top_k": str(top_k), "landmarks": str(model.agents.shape[3]), "trained_on": trained_on}
    save_file(tensors, str(path), metadata)


def load(path: Path) -> tuple[NFormer, int]:
    """A weights file -> the model in eval mode and its k."""
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    shape = Shape(*(int(metadata[key]) for key in ("width", "layers", "heads", "feed_forward")))
    model = NFormer(shape, int(metadata["landmarks"]))
    for layer in range(shape.layers):
        for place, name in enumerate("kq"):
            model.agents.data[layer, place] = tensors.pop(f"layers.{layer}.agents.{name}")
    tensors["mean_weight"] = tensors.pop("head.mean_weight")
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) - {"agents", "bn.num_batches_tracked"}:
        raise ValueError(f"{path}: missing {missing}, unexpected {unexpected}")
    return model.eval(), int(metadata["top_k"])
