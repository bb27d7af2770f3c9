"""What is drawn for each method; the first line of each function is the picture in words."""

from __future__ import annotations

from collections.abc import Callable

from docs.drawings_weights import (
    adalora,
    adapter,
    adaptformer,
    boft,
    c3a,
    delora,
    fourierft,
    gralora,
    hira,
    hra,
    ia3,
    loha,
    lokr,
    lora,
    miss,
    oft,
    psoft,
    randlora,
    road,
    ssf,
    vblora,
    vera,
    waveft,
)
from docs.pictures import Pen
from docs.scenes import MIDDLE, layers, row, tokens

# -- baselines and selection ---------------------------------------------------------------------------------------

def full(p: Pen) -> None:
    """Every block of the model and its head are learned."""
    row(p, [("embed", True), ("block", True), ("block", True), ("head", True)])


def head(p: Pen) -> None:
    """All blocks of the model are frozen; only the head at its end is learned."""
    row(p, [("embed", False), ("block", False), ("block", False), ("head", True)])


def layers_(p: Pen) -> None:
    """The lower blocks are frozen, their output is kept; the top blocks and the head are learned."""
    edges = row(p, [("block", False), ("block", False), ("block", True), ("head", True)])
    x = (edges[1][1] + edges[2][0]) / 2
    p.flow((x, MIDDLE), (x, 112), arrow=False)
    p.note(x, 126, "computed once, kept")


def bitfit(p: Pen) -> None:
    """The input passes a frozen weight; the bias that is added to it is learned."""
    p.text(16, MIDDLE + 4, "x")
    p.flow((24, MIDDLE), (66, MIDDLE))
    p.box(67, MIDDLE - 32, 100, 64, "W")
    p.flow((167, MIDDLE), (219, MIDDLE))
    p.sign(231, MIDDLE, "+")
    p.box(216, 102, 30, 28, "b", learned=True)
    p.flow((231, 102), (231, MIDDLE + 12))
    p.flow((242, MIDDLE), (292, MIDDLE))
    p.text(304, MIDDLE + 4, "y")


def ln_tuning(p: Pen) -> None:
    """Attention and feed-forward layers are frozen; the normalisation before each is learned."""
    row(p, [("norm", True), ("attn", False), ("norm", True), ("FFN", False)])


def shira(p: Pen) -> None:
    """A frozen weight matrix in which single scattered entries are learned."""
    chosen = {(0, 3), (1, 9), (2, 1), (3, 6), (3, 11), (4, 4), (5, 8), (6, 0), (6, 10)}
    p.text(16, MIDDLE + 4, "x")
    p.flow((24, MIDDLE), (76, MIDDLE))
    p.cells(78, 18, 12, 7, 14, lambda r, c: (r, c) in chosen)
    p.note(161, 132, "one or two in a hundred weights")
    p.flow((247, MIDDLE), (292, MIDDLE))
    p.text(304, MIDDLE + 4, "y")


def diff_pruning(p: Pen) -> None:
    """A difference, zero in nearly every entry, is added to the frozen weights."""
    chosen = {(0, 2), (1, 5), (3, 0), (3, 4), (5, 3)}
    p.text(16, MIDDLE + 4, "x")
    p.flow((24, MIDDLE), (42, MIDDLE))
    p.cells(46, 26, 6, 6, 14, lambda r, c: False)
    p.note(87, 124, "θ")
    p.sign(152, MIDDLE, "+")
    p.cells(176, 26, 6, 6, 14, lambda r, c: (r, c) in chosen)
    p.note(217, 124, "δ, mostly zero")
    p.flow((264, MIDDLE), (292, MIDDLE))
    p.text(304, MIDDLE + 4, "y")


def trainable_tokens(p: Pen) -> None:
    """Of the rows of the embedding table only a few are learned; the model behind it is frozen."""
    p.text(16, MIDDLE + 4, "x")
    p.flow((24, MIDDLE), (46, MIDDLE))
    p.cells(50, 18, 5, 8, 16, lambda r, c: r in (5, 7), height=12.5)
    p.note(89, 132, "embedding rows")
    p.flow((130, MIDDLE), (166, MIDDLE))
    p.box(167, MIDDLE - 42, 96, 84, "model")
    p.flow((263, MIDDLE), (292, MIDDLE))
    p.text(304, MIDDLE + 4, "y")


# -- prompts -------------------------------------------------------------------------------------------------------

def prompt_tuning(p: Pen) -> None:
    """Learned vectors stand before the tokens of the text at the input of a frozen model."""
    tokens(p, 40, 12, "PPPxxx")
    p.flow((70, MIDDLE + 2), (114, MIDDLE + 2))
    p.box(115, 18, 138, 104, "model")
    p.flow((253, MIDDLE + 2), (292, MIDDLE + 2))
    p.text(304, MIDDLE + 6, "y")


def p_tuning(p: Pen) -> None:
    """A small learned network makes the prompt vectors that stand before and after the text of a frozen model."""
    p.box(10, 40, 62, 60, "LSTM", learned=True)
    tokens(p, 112, 12, "PPxxPP")
    p.flow((72, 60), (92, 60), (92, 30), (110, 30))
    p.flow((72, 80), (92, 80), (92, 112), (110, 112))
    p.flow((142, MIDDLE + 2), (172, MIDDLE + 2))
    p.box(173, 18, 88, 104, "model")
    p.flow((261, MIDDLE + 2), (294, MIDDLE + 2))
    p.text(306, MIDDLE + 6, "y")


def prefix_tuning(p: Pen) -> None:
    """Every frozen block gets learned keys and values that its attention may look at beside the text's own."""
    p.text(12, 46, "x")
    p.flow((20, 42), (36, 42))
    lefts = layers(p, 37, 16, ["block 1", "block 2", "block 3"], width=62, tall=52)
    for left in lefts:
        p.box(left + 3, 94, 26, 32, "K", learned=True)
        p.box(left + 33, 94, 26, 32, "V", learned=True)
        p.flow((left + 31, 92), (left + 31, 69))
    end = lefts[-1] + 62
    p.flow((end, 42), (end + 18, 42))
    p.text(end + 28, 46, "y")


def p_tuning_v2(p: Pen) -> None:
    """Every frozen block gets learned prompt vectors of its own; a linear head is learned with them."""
    p.text(12, 46, "x")
    p.flow((20, 42), (34, 42))
    lefts = layers(p, 35, 16, ["block 1", "block 2", "block 3"], width=56, tall=52, gap=14)
    for left in lefts:
        p.cells(left + 10, 94, 2, 3, 19, lambda r, c: 0.7, height=12)
        p.flow((left + 28, 92), (left + 28, 69))
    p.note(96, 148, "prompts in every block")
    end = lefts[-1] + 56
    p.flow((end, 42), (end + 12, 42))
    p.box(end + 12, 20, 44, 44, "head", learned=True)
    p.flow((end + 56, 42), (end + 70, 42))
    p.text(end + 77, 46, "y")


def vpt(p: Pen) -> None:
    """Learned tokens stand beside the patches of an image in a frozen vision model; its head is learned too."""
    p.cells(12, 14, 3, 3, 18, lambda r, c: False)
    p.note(38, 84, "patches")
    p.box(12, 94, 24, 18, "P", learned=True)
    p.box(40, 94, 24, 18, "P", learned=True)
    p.note(38, 128, "prompts")
    p.flow((70, 40), (84, 40), (84, 62), (99, 62))
    p.flow((70, 103), (84, 103), (84, 78), (99, 78))
    lefts = layers(p, 100, 24, ["block", "block"], width=56, tall=92)
    end = lefts[-1] + 56
    p.flow((end, 70), (end + 14, 70))
    p.box(end + 14, 48, 44, 44, "head", learned=True)
    p.flow((end + 58, 70), (end + 72, 70))
    p.text(end + 80, 74, "y")


#: By the name of the method.
DRAWINGS: dict[str, Callable[[Pen], None]] = {draw.__name__.rstrip("_"): draw for draw in (
    full, head, layers_, bitfit, ln_tuning, shira, diff_pruning, trainable_tokens, prompt_tuning, p_tuning,
    prefix_tuning, p_tuning_v2, vpt, lora, adalora, vera, loha, lokr, vblora, gralora, randlora, c3a, fourierft, miss,
    hira, delora, psoft, waveft, oft, boft, hra, road, ia3, ssf, adapter, adaptformer)}
