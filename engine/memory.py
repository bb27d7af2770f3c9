"""How much memory a run needs, before it starts: weights, what is trained, activations and logits."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from engine.environment import cpu_features
from engine.shape import ModelShape
from engine.spec import RunSpec

Verdict = Literal["fits", "tight", "too big"]

#: Bytes of the process itself: Python, torch, transformers and peft, before a model is loaded.
PROCESS = 680 * 2**20
#: Bytes that a CPU's generated kernels come to: oneDNN keeps 1,024 of them, one for every shape it meets.
KERNELS = 256 * 2**20
#: Bytes of one weight under each storage; int8 and nf4 hold a scale for every row or block besides.
WIDTH = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.02, "nf4": 0.53}
#: Pixels of an image that count as one token where batches are weighed.
PATCH = 16 * 16
#: Most tokens that are computed at once; larger batches are cut into parts whose gradients add up.
BUDGET = {"cpu": 4096, "cuda": 16_384}
#: Evaluation keeps no activations, so its batches may be this much larger.
LARGER = 4
#: Bytes of a language model's scores (fp32) that are alive at once (see `engine.heads`).
CHUNK_BYTES = 32 << 20
#: Up to this many tokens attention on a CPU in bf16 keeps its whole matrix of scores (see `engine.attention`).
SCORES = 1024
#: Share of the available memory up to which a run fits without doubt.
COMFORT = 0.8


class Memory(BaseModel):
    """Bytes a run needs at its peak, part by part, against the bytes there are.

    `weights` are frozen, `trained` those that learn (float32), `gradients` and `optimizer` belong to the latter.
    """

    model_config = ConfigDict(frozen=True)

    weights: int
    trained: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int
    total: int
    available: int | None
    verdict: Verdict


def available() -> int:
    """Return the bytes of main memory that a new process can use without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def base_dtype(spec: RunSpec, device: str = "cpu") -> str:
    """Return the number format of the frozen weights: that of the spec, or what "auto" means on this machine."""
    if spec.method.float32:
        return "float32"
    if spec.training.precision == "auto":
        features = cpu_features()
        fast = device != "cpu" or features["avx512_bf16"] or features["amx_bf16"]
        return "bfloat16" if fast else "float32"
    if spec.training.precision == "fp16":
        return "float32" if device == "cpu" else "float16"
    return {"fp32": "float32", "bf16": "bfloat16"}[spec.training.precision]


def estimate(spec: RunSpec, shape: ModelShape, labels: int, available: int | None = None, *,
             device: str = "cpu") -> Memory:
    """Return the memory a run needs; `labels` is the width of its head, `available` the bytes there are.

    A run whose estimate is below 80 % of `available` fits, up to all of it is tight.
    """
    shape = shape.for_task(spec.task)
    whole = spec.method.artifact == "model"
    head = shape.head_parameters(spec.task, labels)
    learned = spec.method.trainable(shape) + head
    dtype = base_dtype(spec, device)
    frozen = shape.total - spec.method.trainable(shape) if whole else shape.total
    parts = {
        "weights": _weights(spec, shape, frozen, dtype), "trained": 4 * learned, "gradients": 4 * learned,
        "optimizer": 8 * learned, "activations": _activations(spec, shape, dtype, device),
        "logits": _logits(spec, shape, dtype, device),
        "overhead": PROCESS + (0 if device.startswith("cuda") else KERNELS)}
    total = sum(parts.values())
    return Memory(**parts, total=total, available=available, verdict=_verdict(total, available))


def _verdict(total: int, available: int | None) -> Verdict:
    if available is None or total < COMFORT * available:
        return "fits"
    return "tight" if total <= available else "too big"


def _weights(spec: RunSpec, shape: ModelShape, frozen: int, dtype: str) -> int:
    packed = 0
    if spec.model.quantization:
        packed = sum(m.d_in * m.d_out for m in shape.modules
                     if m.kind == "linear" and m.role != "head" and m.parameters)
    return int(packed * WIDTH.get(spec.model.quantization or "", 0) + max(0, frozen - packed) * WIDTH[dtype])


def _tokens(spec: RunSpec, shape: ModelShape, device: str) -> tuple[int, int]:
    """Return the longest example and the most tokens computed at once."""
    length = min(spec.training.max_length, shape.max_length or spec.training.max_length)
    length += spec.method.virtual_tokens(shape)
    most = BUDGET["cuda" if device.startswith("cuda") else "cpu"]
    return length, max(length, min(length * spec.training.batch_size, most)) * spec.method.copies


def _activations(spec: RunSpec, shape: ModelShape, dtype: str, device: str) -> int:
    """Return the bytes kept for the backward pass.

    A token leaves about 12 vectors of the hidden width, 2 or 4 of the MLP's, and, where they are kept, its rows of the
    attention scores in each block from the first trained one up; a trained matrix also keeps its input in float32.
    Blocks below hold one block's worth at a time, and so do all of them under gradient checkpointing, which keeps only
    their inputs, and in evaluation, whose batches are larger.
    """
    if shape.traces:
        return _image_activations(spec, shape, dtype, device)
    length, tokens = _tokens(spec, shape, device)
    gated = any(m.role in ("gate", "gate_up") for m in shape.modules)
    scores = 2 * shape.heads * length if device == "cpu" and dtype == "bfloat16" and length <= SCORES else 0
    block = (12 * shape.hidden + (4 if gated else 2) * shape.intermediate + scores) * WIDTH[dtype]
    first = spec.method.first_trained_layer(shape)
    depth = max(shape.depth, shape.layers, 1)
    learning = depth if first is None else max(0, depth - first * depth // max(shape.layers, 1))
    widths = {m.name: m.d_in for m in shape.modules if m.kind == "linear"}
    inputs = 4 * sum(widths.get(piece.module, 0) for piece in spec.method.pieces(shape) if piece.layer is not None)
    if spec.training.gradient_checkpointing:
        per_token = block + inputs / max(learning, 1) + learning * shape.hidden * WIDTH[dtype]
    else:
        per_token = (learning + 1) * block + (inputs if dtype != "float32" else inputs / 4)
    return int(tokens * max(per_token, LARGER * block))


def _image_activations(spec: RunSpec, shape: ModelShape, dtype: str, device: str) -> int:
    """Return the bytes that images leave in a model whose layers were counted for one image.

    What layers from the first trained one up give out is kept for the backward pass; below, and in evaluation, whose
    batches are larger, one block's worth is alive at a time. Without blocks that learn, only that remains.
    A layer that something is put around leaves its output twice; a third of all outputs are functions', never wrapped.
    """
    each = max(1, shape.picture ** 2 // PATCH)
    _, budget = _tokens(spec, shape, device)
    images = max(1, min(spec.training.batch_size, budget // each))
    before, *blocks = shape.traces
    first = spec.method.first_trained_layer(shape)
    kept = before + sum(blocks) if first is None else sum(blocks[first:]) if first < shape.layers else 0
    if spec.method.artifact == "adapter":
        kept += kept * 2 * len(spec.method.pieces(shape)) // (3 * max(1, len(shape.modules)))
    if spec.training.gradient_checkpointing:
        kept = max(blocks, default=before)
    passing = max(max(blocks, default=0), before) * max(1, min(LARGER * images, LARGER * budget // each))
    pixels = 3 * shape.picture ** 2 * 4
    return int(WIDTH[dtype] * max(kept * images, passing) + LARGER * images * pixels)


def _logits(spec: RunSpec, shape: ModelShape, dtype: str, device: str) -> int:
    """Return the bytes of a language model's scores, of what is made of them, and of their gradient.

    Scores are made a chunk at a time: in the format of the arithmetic, as fp32 and as probabilities in either. What
    stays is their gradient with regard to the hidden states and, where it learns, to the output matrix.
    """
    if shape.task_heads.get(spec.task) or shape.family == "encoder":
        return 0
    _, tokens = _tokens(spec, shape, device)
    chunk = min(CHUNK_BYTES, 4 * tokens * shape.vocab)
    matrix = 4 * shape.vocab * shape.hidden if _learns_scores(spec, shape) else 0
    return int(chunk * (2 + 2 * WIDTH[dtype] / 4) + tokens * shape.hidden * WIDTH[dtype] + 1.5 * matrix)


def _learns_scores(spec: RunSpec, shape: ModelShape) -> bool:
    """Whether the output matrix, which may be that of the embeddings, is trained."""
    names = {m.name for m in shape.modules if m.role == "head" or m.tied or
             (m.kind == "embedding" and shape.tied_embeddings)}
    return any(piece.module in names for piece in spec.method.pieces(shape))
