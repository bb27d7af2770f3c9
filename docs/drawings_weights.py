"""Pictures of methods that change a layer's weights or what goes through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from docs.pictures import Pen
from docs.scenes import BELOW, MIDDLE, beside

# -- beside a layer ------------------------------------------------------------------------------------------------

def lora(p: Pen) -> None:
    """Beside the frozen weight, a matrix A narrows the input to rank r and B widens it; both are learned."""
    beside(p)
    p.flow((66, BELOW), (82, BELOW), arrow=False)
    p.narrow(82, BELOW, "A")
    p.flow((122, BELOW), (144, BELOW))
    p.narrow(145, BELOW, "B", widens=True)
    p.flow((185, BELOW), (201, BELOW), arrow=False)
    p.note(133, 148, "rank r")


def adalora(p: Pen) -> None:
    """Beside the frozen weight, Q narrows, a learned diagonal with some entries removed scales, and P widens."""
    beside(p)
    p.narrow(67, BELOW, "Q", width=36)
    p.flow((103, BELOW), (112, BELOW), arrow=False)
    p.cells(113, BELOW - 21, 4, 4, 11, lambda r, c: r == c and r not in (2,))
    p.flow((155, BELOW), (164, BELOW), arrow=False)
    p.narrow(164, BELOW, "P", widens=True, width=37)
    p.note(128, 148, "rank where it helps")


def vera(p: Pen) -> None:
    """Beside the frozen weight, random frozen matrices A and B; a learned vector d and b scales after each."""
    beside(p)
    p.narrow(67, BELOW, "A", learned=False, width=36)
    p.flow((103, BELOW), (110, BELOW), arrow=False)
    p.box(110, BELOW - 15, 18, 30, "d", learned=True)
    p.flow((128, BELOW), (135, BELOW), arrow=False)
    p.narrow(135, BELOW, "B", learned=False, widens=True, width=36)
    p.flow((171, BELOW), (178, BELOW), arrow=False)
    p.box(178, BELOW - 23, 18, 46, "b", learned=True)
    p.flow((196, BELOW), (201, BELOW), arrow=False)


def loha(p: Pen) -> None:
    """Beside the frozen weight, two low-rank products that are multiplied entry by entry; all four are learned."""
    beside(p)
    for left, first, second in ((67, "A₁", "B₁"), (148, "A₂", "B₂")):
        p.narrow(left, BELOW, first, width=26, tall=44, low=26)
        p.narrow(left + 26, BELOW, second, widens=True, width=26, tall=44, low=26)
    p.sign(133.5, BELOW, "⊙")
    p.flow((200, BELOW), (204, BELOW), arrow=False)


def lokr(p: Pen) -> None:
    """Beside the frozen weight, the Kronecker product of a small matrix and a low-rank one; both are learned."""
    beside(p)
    p.cells(72, BELOW - 20, 3, 3, 14, lambda r, c: 0.25 + 0.2 * ((r + 2 * c) % 3))
    p.sign(130, BELOW, "⊗")
    p.narrow(147, BELOW, "A", width=26, tall=44, low=24)
    p.narrow(173, BELOW, "B", widens=True, width=26, tall=44, low=24)
    p.flow((112, BELOW), (119, BELOW), arrow=False)
    p.note(92, 148, "blocks")


def vblora(p: Pen) -> None:
    """A learned bank of vectors; learned choices mix a few of them into every piece of A and B beside the weight."""
    beside(p)
    p.cells(70, BELOW - 24, 2, 6, 16, lambda r, c: 0.25 + 0.15 * ((r + c) % 4), height=8)
    p.note(86, 148, "bank")
    p.flow((104, BELOW), (122, BELOW))
    p.narrow(123, BELOW, "A", width=34)
    p.flow((157, BELOW), (165, BELOW), arrow=False)
    p.narrow(165, BELOW, "B", widens=True, width=34)
    p.flow((199, BELOW), (204, BELOW), arrow=False)


def gralora(p: Pen) -> None:
    """The update beside the frozen weight is cut into blocks, each with a narrow learned pair of its own."""
    beside(p)
    for index in range(4):
        x, y = 86 + 50 * (index % 2), 78 + 27 * (index // 2)
        p.narrow(x, y + 12, width=21, tall=22, low=9)
        p.narrow(x + 24, y + 12, widens=True, width=21, tall=22, low=9)
    p.flow((66, BELOW), (86, BELOW), arrow=False)
    p.flow((181, BELOW), (201, BELOW), arrow=False)
    p.note(133, 148, "one pair a block")


def randlora(p: Pen) -> None:
    """Beside the frozen weight, many random frozen pairs are summed up; only their diagonal weights are learned."""
    beside(p)
    p.box(67, BELOW - 23, 18, 46, "Γ", learned=True)
    p.flow((85, BELOW), (91, BELOW), arrow=False)
    p.narrow(91, BELOW, "A", learned=False, width=36)
    p.flow((127, BELOW), (133, BELOW), arrow=False)
    p.box(133, BELOW - 15, 18, 30, "Λ", learned=True)
    p.flow((151, BELOW), (157, BELOW), arrow=False)
    p.narrow(157, BELOW, "B", learned=False, widens=True, width=36)
    p.flow((193, BELOW), (201, BELOW), arrow=False)
    p.note(133, 148, "a sum of many")


def c3a(p: Pen) -> None:
    """The update beside the frozen weight is circular: one learned row, shifted by one in each next row."""
    beside(p)
    shades = (1.0, 0.55, 0.3, 0.14, 0.75)
    p.cells(92, BELOW - 27, 7, 5, 12, lambda r, c: shades[(c - r) % 5], height=11)
    p.flow((66, BELOW), (90, BELOW), arrow=False)
    p.flow((176, BELOW), (201, BELOW), arrow=False)
    p.note(114, 148, "rows shifted by one")


def fourierft(p: Pen) -> None:
    """A few learned frequencies are transformed into the whole update beside the frozen weight."""
    beside(p)
    chosen = {(0, 1), (1, 4), (2, 0), (3, 3), (4, 1)}
    p.cells(69, BELOW - 24, 5, 5, 10, lambda r, c: (r, c) in chosen)
    p.flow((121, BELOW), (150, BELOW))
    p.cells(152, BELOW - 24, 5, 5, 10, lambda r, c: 0.16 + 0.12 * ((r * 2 + c) % 4))
    p.note(122, 148, "frequencies, update")


def miss(p: Pen) -> None:
    """Beside the frozen weight, groups of inputs are summed up and pass one learned matrix D."""
    beside(p)
    p.cells(70, BELOW - 24, 1, 6, 14, lambda r, c: False, height=8)
    for height in (-16, 0, 16):
        p.flow((84, BELOW + height), (104, BELOW + height / 3), arrow=False)
    p.box(104, BELOW - 12, 24, 24, "Σ")
    p.flow((128, BELOW), (143, BELOW))
    p.narrow(144, BELOW, "D", widens=True, width=44)
    p.flow((188, BELOW), (201, BELOW), arrow=False)


def hira(p: Pen) -> None:
    """A low-rank product of learned A and B multiplies the frozen weight entry by entry; that is the update."""
    beside(p)
    p.narrow(67, BELOW, "A", width=30)
    p.narrow(97, BELOW, "B", widens=True, width=30)
    p.sign(144, BELOW, "⊙")
    p.box(164, BELOW - 21, 36, 42, "W")
    p.flow((127, BELOW), (133, BELOW), arrow=False)
    p.flow((164, BELOW), (155, BELOW), arrow=False)


def delora(p: Pen) -> None:
    """Beside the frozen weight, learned A and B are brought to length one; a learned λ says how far they reach."""
    beside(p)
    p.narrow(67, BELOW, "A", width=34)
    p.flow((101, BELOW), (108, BELOW), arrow=False)
    p.narrow(108, BELOW, "B", widens=True, width=34)
    p.flow((142, BELOW), (162, BELOW))
    p.box(163, BELOW - 15, 36, 30, "· λ", learned=True)
    p.note(116, 148, "of length one")


def psoft(p: Pen) -> None:
    """The frozen weight without its main part, and beside it that part: frozen A and B with a learned rotation R."""
    beside(p, "W − A·B")
    p.narrow(67, BELOW, "B", learned=False, width=36)
    p.flow((103, BELOW), (112, BELOW), arrow=False)
    p.cells(113, BELOW - 21, 4, 4, 11, lambda r, c: 0.25 + 0.2 * ((r + 3 * c) % 4))
    p.flow((155, BELOW), (164, BELOW), arrow=False)
    p.narrow(164, BELOW, "A", learned=False, widens=True, width=37)
    p.note(133, 148, "rotation R")


def waveft(p: Pen) -> None:
    """A few learned wavelet coefficients are transformed into the whole update beside the frozen weight."""
    beside(p)
    chosen = {(0, 0), (1, 3), (2, 1), (4, 4), (4, 2)}
    p.cells(69, BELOW - 24, 5, 5, 10, lambda r, c: (r, c) in chosen)
    p.flow((121, BELOW), (150, BELOW))
    p.cells(152, BELOW - 24, 5, 5, 10, lambda r, c: 0.2 + 0.3 * ((r // 2 + c // 2) % 2))
    p.note(122, 148, "wavelets, update")


# -- before or after a layer ---------------------------------------------------------------------------------------

def _turned(p: Pen, grids: Sequence[Callable[[int, int], bool | float]], labels: Sequence[str]) -> None:
    """Draw learned square matrices before a frozen layer."""
    p.text(14, MIDDLE + 4, "x")
    x, size = 40.0, 10.0
    p.flow((22, MIDDLE), (x - 2, MIDDLE))
    for grid, label in zip(grids, labels, strict=True):
        p.cells(x, MIDDLE - 30, 6, 6, size, grid)
        p.note(x + 29, 116, label)
        p.flow((x + 60, MIDDLE), (x + 78, MIDDLE))
        x += 80
    p.box(x, MIDDLE - 36, 270 - x, 72, "W")
    p.flow((270, MIDDLE), (294, MIDDLE))
    p.text(306, MIDDLE + 4, "h")


def oft(p: Pen) -> None:
    """Before the frozen weight, learned rotations turn the inputs in small blocks."""
    _turned(p, [lambda r, c: 0.7 if r // 2 == c // 2 else False], ["rotations R"])


def boft(p: Pen) -> None:
    """Before the frozen weight, two learned rotations in blocks, the second of inputs that lie apart."""
    _turned(p, [lambda r, c: 0.7 if r // 2 == c // 2 else False,
                lambda r, c: 0.7 if r % 3 == c % 3 else False], ["R₁", "R₂"])


def hra(p: Pen) -> None:
    """Before the frozen weight, the input is reflected in a few learned mirrors, one after the other."""
    p.text(14, MIDDLE + 4, "x")
    p.flow((22, MIDDLE), (44, MIDDLE))
    for place, label in enumerate(("H₁", "H₂", "H₃")):
        x = 45 + place * 44
        p.box(x, MIDDLE - 30, 26, 60, label, learned=True)
        p.flow((x + 26, MIDDLE), (x + 44, MIDDLE))
    p.note(102, 120, "mirrors")
    p.box(177, MIDDLE - 36, 90, 72, "W")
    p.flow((267, MIDDLE), (294, MIDDLE))
    p.text(306, MIDDLE + 4, "h")


def road(p: Pen) -> None:
    """After the frozen weight, learned rotations turn and stretch the outputs in pairs."""
    p.text(14, MIDDLE + 4, "x")
    p.flow((22, MIDDLE), (52, MIDDLE))
    p.box(53, MIDDLE - 36, 96, 72, "W")
    p.flow((149, MIDDLE), (184, MIDDLE))
    p.cells(187, MIDDLE - 30, 6, 6, 10, lambda r, c: 0.7 if r // 2 == c // 2 else False)
    p.note(216, 122, "pairs turn by θ")
    p.flow((248, MIDDLE), (294, MIDDLE))
    p.text(306, MIDDLE + 4, "h")


def ia3(p: Pen) -> None:
    """Keys, values and the feed-forward's inner units are each multiplied by a learned vector."""
    for y, label, vector in ((30.0, "key", "l_k"), (70.0, "value", "l_v"), (110.0, "FFN up", "l_ff")):
        p.text(16, y + 4, "x")
        p.flow((24, y), (56, y))
        p.box(57, y - 15, 84, 30, label)
        p.flow((141, y), (176, y))
        p.sign(188, y, "⊙")
        p.box(212, y - 13, 40, 26, vector, learned=True)
        p.flow((212, y), (200, y), arrow=False)
        p.flow((188, y + 11), (188, y + 20), (300, y + 20))


def ssf(p: Pen) -> None:
    """What a frozen layer gives out is multiplied by a learned scale and moved by a learned shift."""
    p.text(14, MIDDLE + 4, "x")
    p.flow((22, MIDDLE), (48, MIDDLE))
    p.box(49, MIDDLE - 32, 88, 64, "layer")
    p.flow((137, MIDDLE), (169, MIDDLE))
    p.sign(181, MIDDLE, "⊙")
    p.flow((192, MIDDLE), (228, MIDDLE))
    p.sign(240, MIDDLE, "+")
    for x, label in ((181, "γ"), (240, "β")):
        p.box(x - 15, 104, 30, 28, label, learned=True)
        p.flow((x, 104), (x, MIDDLE + 12))
    p.flow((251, MIDDLE), (294, MIDDLE))
    p.text(306, MIDDLE + 4, "y")


def adapter(p: Pen) -> None:
    """After frozen attention and after the frozen feed-forward, a learned bottleneck that adds to what it gets."""
    y = MIDDLE + 8
    p.text(10, y + 4, "x")
    for x, label in ((28.0, "attn"), (167.0, "FFN")):
        p.flow((x - 13, y), (x, y))
        p.box(x, y - 32, 44, 64, label)
        p.flow((x + 44, y), (x + 58, y))
        p.narrow(x + 58, y, width=20, tall=46, low=18)
        p.narrow(x + 80, y, widens=True, width=20, tall=46, low=18)
        p.flow((x + 50, y), (x + 50, 26), (x + 115, 26), (x + 115, y - 12))
        p.flow((x + 100, y), (x + 104, y), arrow=False)
        p.sign(x + 115, y, "+")
    p.flow((293, y), (304, y))
    p.text(312, y + 4, "y")


def adaptformer(p: Pen) -> None:
    """Beside the frozen feed-forward of each block, a learned bottleneck whose output is scaled by s and added."""
    beside(p, "FFN")
    p.narrow(67, BELOW, "down", width=46, tall=50, low=24)
    p.flow((113, BELOW), (118, BELOW), arrow=False)
    p.narrow(118, BELOW, "up", widens=True, width=40, tall=50, low=24)
    p.flow((158, BELOW), (169, BELOW), arrow=False)
    p.box(169, BELOW - 13, 30, 26, "· s", learned=True)
