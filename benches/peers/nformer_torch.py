"""The dense reference forward of NFormer in PyTorch, written from the formulas: every row looks at every row, a mask
leaves the reciprocal neighbours. One thread. Used by fusion.py; not part of the product."""

import math

import torch
from torch.nn import functional


class DenseNFormer(torch.nn.Module):
    """Weights by the names of the product's file; landmarks are its fixed agents."""

    def __init__(self, tensors, layers, heads):
        super().__init__()
        self.tensors = tensors
        self.layers, self.heads = layers, heads

    @torch.inference_mode()
    def forward(self, x, top_k):
        """`x [N, D]`, unit rows -> output of the last batch norm `[N, D]`."""
        mask = reciprocal_mask(x, top_k)
        for layer in range(self.layers):
            x = self.layer(f"layers.{layer}.", x, mask)
        t = self.tensors
        return functional.batch_norm(x, t["bn.running_mean"], t["bn.running_var"], t["bn.weight"], t["bn.bias"], eps=1e-5)

    def layer(self, name, x, mask):
        t = self.tensors
        rows, width = x.shape
        head_width = width // self.heads
        qkv = functional.linear(x, t[name + "qkv.weight"], t[name + "qkv.bias"])
        # [heads, N, d] each
        q, k, v = (part.view(rows, self.heads, head_width).transpose(0, 1) for part in qkv.split(width, dim=1))
        to_landmarks = q @ t[name + "agents.k"].transpose(1, 2)  # Q' [heads, N, l]
        from_landmarks = t[name + "agents.q"] @ k.transpose(1, 2)  # K' [heads, l, N]
        affinity = to_landmarks @ from_landmarks / math.sqrt(head_width)
        weights = affinity.masked_fill(~mask, -math.inf).softmax(dim=-1)
        z = (weights @ v).transpose(0, 1).reshape(rows, width)
        z = functional.linear(z, t[name + "out.weight"], t[name + "out.bias"])
        n = functional.layer_norm(x + z, (width,), t[name + "norm1.weight"], t[name + "norm1.bias"])
        hidden = functional.gelu(functional.linear(n, t[name + "ffn1.weight"], t[name + "ffn1.bias"]), approximate="tanh")
        hidden = functional.linear(hidden, t[name + "ffn2.weight"], t[name + "ffn2.bias"])
        return functional.layer_norm(n + hidden, (width,), t[name + "norm2.weight"], t[name + "norm2.bias"])


def reciprocal_mask(x, top_k):
    """True where i and j are among the `top_k` most similar rows of each other, `[N, N]`."""
    nearest = (x @ x.T).topk(min(top_k, len(x)), dim=1).indices
    chosen = torch.zeros(len(x), len(x), dtype=torch.bool).scatter_(1, nearest, True)
    return chosen & chosen.T
