"""Rows of a local model that decode together: one forward pass per token, rows join and leave on the way.

A row's noise belongs to the row, and positions and mask keep its logits independent of its company, but
for the rounding of float32 sums (relative 1e-6): company changes a text only where a uniform number falls
that close to the edge between two tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.masking_utils import eager_mask

from toolkit.types import Request


@dataclass(slots=True, eq=False)
class Row:
    """One choice being decoded."""

    temperature: float  # above 0; greedy is top_k = 1
    top_k: int  # 0: no limit
    top_p: float  # 1: no limit
    noise: np.ndarray  # one uniform number in [0, 1) per token that may come
    tokens: list[int] = field(default_factory=list)
    done: bool = False


def row_of(request: Request, seed: int, index: int, budget: int) -> Row:
    """Choice `index` of a request. Its noise is a function of (seed, index) and the step alone."""
    temperature = 1.0 if request.temperature is None else request.temperature
    greedy = temperature == 0
    key = np.array([seed % 2**64, index], dtype=np.uint64)
    return Row(
        temperature=1.0 if greedy else temperature,
        top_k=1 if greedy else max(request.top_k or 0, 0),
        top_p=1.0 if request.top_p is None else request.top_p,
        noise=np.random.Generator(np.random.Philox(key=key)).random(budget),
    )


class Batch:
    """The rows in flight with their key-value cache, left-padded to the longest."""

    def __init__(self, model: Any, pad: int) -> None:
        self.rows: list[Row] = []
        self._model, self._pad = model, pad
        self._cache = DynamicCache()
        self._mask = torch.zeros(0, 0, dtype=torch.long)  # rows x columns of the cache: 1 is a token
        self._logits = torch.zeros(0, 0)  # rows x vocabulary, for the token to draw next

    def join(self, prompts: Sequence[Sequence[int]], rows: Sequence[Sequence[Row]]) -> None:
        """Reads each prompt once and adds its rows."""
        width = max(map(len, prompts))
        ids = torch.tensor([[self._pad] * (width - len(p)) + list(p) for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        cache = DynamicCache()
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        owner = torch.tensor([i for i, group in enumerate(rows) for _ in group])
        new = [(layer.keys[owner], layer.values[owner]) for layer in cache.layers]
        if self.rows:
            old = [(layer.keys, layer.values) for layer in self._cache.layers]
            new = [(_stack(k, k2), _stack(v, v2)) for (k, v), (k2, v2) in zip(old, new, strict=True)]
            self._mask = _stack(self._mask[..., None], mask[owner][..., None])[..., 0]
            self._logits = torch.cat([self._logits, logits[owner]])
        else:
            self._mask, self._logits = mask[owner], logits[owner]
        self._cache = cache
        self._refill(new)
        self.rows += [row for group in rows for row in group]

    def draw(self) -> None:
        """Draws the next token of every row."""
        noise = torch.tensor([row.noise[min(len(row.tokens), len(row.noise) - 1)] for row in self.rows])
        for row, token in zip(self.rows, choose(self._logits, self.rows, noise).tolist(), strict=True):
            if not row.done:
                row.tokens.append(token)

    def advance(self) -> None:
        """Reads the tokens just drawn. Done rows leave once they are worth the copy of the cache."""
        done = sum(row.done for row in self.rows)
        if done * 8 >= len(self.rows):
            self._keep([i for i, row in enumerate(self.rows) if not row.done])
        if not self.rows:
            return
        last = torch.tensor([row.tokens[-1:] for row in self.rows])
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        positions = self._mask.sum(1, keepdim=True) - 1
        self._logits = self._forward(last, self._mask, positions, self._cache)

    def _keep(self, indices: list[int]) -> None:
        keep = torch.tensor(indices, dtype=torch.long)
        self.rows = [self.rows[i] for i in indices]
        self._mask = self._mask[keep]
        empty = int(self._mask.any(0).int().argmax()) if indices else 0  # columns no row needs any more
        self._mask = self._mask[:, empty:]
        self._refill([(la.keys[keep, :, empty:], la.values[keep, :, empty:]) for la in self._cache.layers])

    def _refill(self, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        for layer, (keys, values) in zip(self._cache.layers, layers, strict=True):
            layer.keys, layer.values = keys, values

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        out = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = out.logits[:, -1].double()
        return logits


def choose(logits: torch.Tensor, rows: Sequence[Row], noise: torch.Tensor) -> torch.Tensor:
    """One token per row, by inverting the distribution function at its noise; top_k before top_p.

    Rows without limits are inverted in the order of the vocabulary, limited ones in order of rank:
    a row's own settings decide, never its company's.
    """
    tokens = torch.empty(len(rows), dtype=torch.long)
    warm = logits / torch.tensor([row.temperature for row in rows], dtype=logits.dtype)[:, None]
    limited = [i for i, row in enumerate(rows) if row.top_k or row.top_p < 1]
    if len(limited) < len(rows):
        free = sorted(set(range(len(rows))) - set(limited))
        tokens[free] = _invert(warm[free].softmax(-1), noise[free])
    if limited:
        tokens[limited] = _choose_ranked(warm[limited], [rows[i] for i in limited], noise[limited])
    return tokens


def _choose_ranked(warm: torch.Tensor, rows: Sequence[Row], noise: torch.Tensor) -> torch.Tensor:
    vocabulary = warm.shape[1]
    limits = torch.tensor([min(row.top_k or vocabulary, vocabulary) for row in rows])
    ranked, order = warm.topk(int(limits.max()))
    ranks = torch.arange(ranked.shape[1])
    weights = ranked.masked_fill(ranks >= limits[:, None], -torch.inf).softmax(-1)
    before = weights.cumsum(-1) - weights
    mass = torch.tensor([row.top_p for row in rows], dtype=weights.dtype)
    weights = weights.masked_fill((before >= mass[:, None]) & (ranks > 0), 0)
    return order.gather(1, _invert(weights, noise)[:, None])[:, 0]


def _invert(weights: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    edges = weights.cumsum(-1)
    below = edges <= noise[:, None] * edges[:, -1:]
    return below.sum(-1).clamp(max=weights.shape[1] - 1)


def _stack(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Rows of both, left-padded in the last but one dimension to the longer."""
    width = max(old.shape[-2], new.shape[-2])
    padded = [torch.nn.functional.pad(part, (0, 0, width - part.shape[-2], 0)) for part in (old, new)]
    return torch.cat(padded)


def grouped_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with the query heads of a group stacked, so keys and values are read once per group.

    The library's own repeats them per head, which took a third of the decoding time on a CPU.
    """
    rows, heads, asked, size = query.shape
    groups = key.shape[1]
    stacked = query.reshape(rows, groups, heads // groups, asked, size).flatten(2, 3)
    scores = stacked @ key.transpose(2, 3) * (size**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        scores = scores + attention_mask.repeat(1, 1, heads // groups, 1)
    mixed = scores.softmax(-1) @ value
    return mixed.reshape(rows, heads, asked, size).transpose(1, 2), None


AttentionInterface.register("grouped", grouped_attention)
AttentionMaskInterface.register("grouped", eager_mask)
