"""What a training needs of a device's memory and time, from config.json alone: known before anything is loaded.

Weights, gradients and Adam's two moments are counted exactly; activations from what each operation of a
decoder layer keeps for its backward pass (after Korthikanti et al. 2022, arXiv 2205.05198, with Gemma's
gated MLP and its norms, which compute in float32). An estimate, meant to be on the cautious side: it decides
what is refused before it is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from toolkit.errors import InputError
from toolkit.spec import Finetune

GIB = 1 << 30
USABLE = 0.9  # share of the free memory that is planned with
CONTEXT = GIB  # bytes a process holds besides tensors: the interpreter and torch, or a CUDA context
CHUNK = 256  # tokens whose logits are in memory at once
EFFICIENCY = 0.4  # share of a device's matrix throughput that a training reaches; a guess, said as one
NORMS = {"gemma2": 4, "gemma3": 4, "gemma3_text": 4}  # per layer; 2 in the others
QK_NORMS = frozenset({"gemma3", "gemma3_text", "qwen3"})
TIED = (
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
)  # the head is the embedding unless config.json says otherwise


@dataclass(frozen=True, slots=True)
class Device:
    """What a training runs on."""

    kind: Literal["cpu", "cuda"]
    name: str
    free: int  # bytes, for each process
    flops: float = 0.0  # per second, of a large product of matrices in the compute type; 0 is unknown
    half: bool = False  # computes in bfloat16


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder-only transformer as its config.json describes it."""

    kind: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    vocabulary: int
    tied: bool
    other: int = 0  # parameters outside the decoder, such as an image tower

    @property
    def per_layer(self) -> int:
        attention = 2 * self.hidden * self.head * (self.heads + self.kv_heads)
        bias = self.head * (self.heads + 2 * self.kv_heads) if self.kind == "qwen2" else 0
        norms = NORMS.get(self.kind, 2) * self.hidden + (2 * self.head if self.kind in QK_NORMS else 0)
        return attention + bias + 3 * self.hidden * self.inner + norms

    @property
    def parameters(self) -> int:
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * self.per_layer + self.hidden + self.other


def shape(config: Mapping[str, Any]) -> Shape:
    """The shape in a config.json. Raises InputError where it describes no decoder-only transformer."""
    text = config.get("text_config") or config
    kind = str(text.get("model_type") or config.get("model_type") or "")
    try:
        hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
        tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
        return Shape(
            kind=kind,
            hidden=hidden,
            layers=int(text["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(text.get("num_key_value_heads") or heads),
            head=int(text.get("head_dim") or hidden // heads),
            inner=int(text["intermediate_size"]),
            vocabulary=int(text["vocab_size"]),
            tied=kind in TIED if tied is None else bool(tied),
            other=_tower(config.get("vision_config"), hidden),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"config.json: not a decoder-only transformer ({error}): use another checkpoint"
        ) from None


def _tower(vision: Mapping[str, Any] | None, hidden: int) -> int:
    """Parameters of a SigLIP image tower and its projection."""
    if not vision:
        return 0
    wide, inner = int(vision.get("hidden_size", 1152)), int(vision.get("intermediate_size", 4304))
    size, patch = int(vision.get("image_size", 896)), int(vision.get("patch_size", 14))
    layer = 4 * wide * (wide + 1) + 2 * wide * inner + inner + wide + 4 * wide
    patches = wide * (3 * patch**2 + 1) + (size // patch) ** 2 * wide
    return int(vision.get("num_hidden_layers", 27)) * layer + patches + 2 * wide + wide * (hidden + 1)


# -- memory


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes a training holds on each device at its peak."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + CONTEXT


@dataclass(frozen=True, slots=True)
class Layout:
    """How a device's share of a batch is worked through."""

    micro: int  # rows at once
    recompute: bool  # activations are computed again in the backward pass rather than kept
    need: Need


def trained(shape: Shape, spec: Finetune) -> int:
    """Parameters that learn: all, or those of the adapters."""
    if spec.lora is None:
        return shape.parameters
    a, kv = shape.heads * shape.head, shape.kv_heads * shape.head
    sizes = {
        "q_proj": (shape.hidden, a), "k_proj": (shape.hidden, kv), "v_proj": (shape.hidden, kv),
        "o_proj": (a, shape.hidden), "gate_proj": (shape.hidden, shape.inner),
        "up_proj": (shape.hidden, shape.inner), "down_proj": (shape.inner, shape.hidden),
    }  # fmt: skip
    wanted = spec.lora.targets or tuple(sizes)
    return shape.layers * sum(spec.lora.r * sum(sizes[name]) for name in wanted if name in sizes)


def need(shape: Shape, spec: Finetune, device: Device, attention: str, layout: tuple[int, bool]) -> Need:
    """What a training holds with `layout` (rows at once, recompute)."""
    learning, everything = trained(shape, spec), shape.parameters
    full = 2 if spec.dtype == "bfloat16" else 4  # bytes of a weight that learns
    frozen = 2 if device.half or full == 2 else 4
    share = spec.processes if spec.accelerate else 1  # sharded over the processes, or held by each
    weights = learning * full if spec.lora is None else everything * frozen + learning * full
    cast = learning * 2 if device.half and full == 4 else 0  # autocast keeps a copy for the length of a step
    return Need(
        weights=weights // share + cast // share,
        gradients=learning * full // share,
        optimizer=2 * learning * full // share,
        activations=_activations(shape, spec, device, attention, *layout),
    )


def _activations(
    shape: Shape, spec: Finetune, device: Device, attention: str, rows: int, recompute: bool
) -> int:
    b = 2 if device.half or spec.dtype == "bfloat16" else 4
    a, kv = shape.heads * shape.head, shape.kv_heads * shape.head
    context = spec.max_length
    norms = NORMS.get(shape.kind, 2) * (8 + b) * shape.hidden
    scores = shape.heads * context * (4 * b + 4) if attention == "eager" else 0
    attended = b * (2 * a + 4 * kv + 3 * a) + scores
    layer = norms + attended + b * 4 * shape.inner + 2 * b * shape.hidden
    kept = b * shape.hidden if recompute else layer
    logits = CHUNK * shape.vocabulary * 12
    return rows * context * (shape.layers * kept + (layer if recompute else 0)) + logits


def layout(name: str, shape: Shape, spec: Finetune, device: Device, attention: str) -> Layout:
    """The largest rows at once that fit, recomputing only where it must be.

    Raises InputError, before anything is loaded, where even one row does not fit.
    """
    share = spec.batch_size // spec.processes
    choices = [spec.micro_batch] if spec.micro_batch else [m for m in range(share, 0, -1) if share % m == 0]
    for recompute in (False, True):
        for micro in choices:
            needed = need(shape, spec, device, attention, (micro, recompute))
            if needed.total <= USABLE * device.free:
                return Layout(micro, recompute, needed)
    raise InputError(
        _refusal(name, shape, spec, device, need(shape, spec, device, attention, (choices[-1], True)))
    )


def _refusal(name: str, shape: Shape, spec: Finetune, device: Device, needed: Need) -> str:
    parts = ", ".join(
        f"{part} {getattr(needed, part) / GIB:.1f}"
        for part in ("weights", "gradients", "optimizer", "activations")
    )
    how = "finetuning all weights" if spec.lora is None else "LoRA finetuning"
    mend = "set finetune.lora, or share it over more GPUs (finetune.processes and accelerate)"
    if spec.lora is not None:
        mend = "take a smaller student, or a larger GPU"
    return (
        f"students: {name}: {how} of {shape.parameters / 1e9:.1f} billion parameters needs about "
        f"{needed.total / GIB:.0f} GiB on each device ({parts}), {device.name} has {device.free / GIB:.0f} GiB free: {mend}"
    )


# -- time


def flops(shape: Shape, spec: Finetune, tokens: float, *, recompute: bool = False) -> float:
    """Of training on so many tokens: 2 per weight forward, 4 backward (Kaplan et al. 2020, arXiv 2001.08361).

    LoRA saves the gradients of frozen weights, recomputing costs another forward pass. Weights of an
    embedding that only looks up are left out.
    """
    lookup = 0 if shape.tied else shape.vocabulary * shape.hidden
    working = shape.parameters - lookup - shape.other
    passes = (4 if spec.lora else 6) + (2 if recompute else 0)
    return float(passes) * working * tokens


def seconds(shape: Shape, spec: Finetune, device: Device, tokens: float, *, recompute: bool) -> float | None:
    """A guess of the time to train on `tokens` tokens (all processes' together); None where the speed is unknown."""
    if not device.flops:
        return None
    work = flops(shape, spec, tokens, recompute=recompute)
    return work / (EFFICIENCY * device.flops * spec.processes)
