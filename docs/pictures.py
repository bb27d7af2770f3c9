"""One picture for each method, all drawn with the same few strokes: `python -m docs.pictures` writes the SVG files.

Data flows from left to right. What stays frozen is grey; what is learned has the accent colour and a heavier line. On
a page the colours are the page's own custom properties; a file by itself is a light card with the colours given here.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from pathlib import Path

from engine import methods

FOLDER = Path(__file__).parent.parent / "studio" / "static" / "methods"
WIDTH, HEIGHT = 320, 160
#: Smallest letters, in the picture's own units; pages draw it at least as wide as it is here.
LETTERS = 12
COLOURS = {"panel": "#fffefb", "sunken": "#efece4", "line-strong": "#8b8577", "ink": "#1f2528", "muted": "#5c6063",
           "accent": "#0b6b5d", "accent-soft": "#dcece7", "accent-ink": "#07564a"}

Point = tuple[float, float]


def colour(name: str) -> str:
    """Return a colour of the page, or that of a light card where there is no page."""
    return f"var(--ps-{name}, {COLOURS[name]})"


class Pen:
    """Collects the strokes of one picture. Coordinates are in its units, from the upper left."""

    def __init__(self) -> None:
        """Start with an empty picture."""
        self.strokes: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, label: str = "", *, learned: bool = False,
            dashed: bool = False) -> None:
        """Draw a module with its name in the middle."""
        self.strokes.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" '
                            f"{_paint(learned, dashed)}/>")
        if label:
            self.text(x + width / 2, y + height / 2 + 4.5, label, learned=learned)

    def narrow(self, x: float, y: float, label: str = "", *, learned: bool = True, widens: bool = False,
               width: float = 40, tall: float = 46, low: float = 20) -> None:
        """Draw a projection around the height `y` that narrows to the right, or widens."""
        left, right = (low, tall) if widens else (tall, low)
        corners = [(x, y - left / 2), (x + width, y - right / 2), (x + width, y + right / 2), (x, y + left / 2)]
        places = " ".join(f"{px:g},{py:g}" for px, py in corners)
        self.strokes.append(f'<polygon points="{places}" stroke-linejoin="round" {_paint(learned)}/>')
        if label:
            self.text(x + width / 2, y + 4.5, label, learned=learned)

    def cells(self, x: float, y: float, columns: int, rows: int, size: float,
              learned: Callable[[int, int], bool | float], *, height: float = 0) -> None:
        """Draw a grid; `learned(row, column)` tells which cells are learned, as a share how strongly."""
        tall = height or size
        for row in range(rows):
            for column in range(columns):
                share = float(learned(row, column))
                paint = (f'fill="{colour("accent")}" fill-opacity="{share:g}" stroke="{colour("accent")}"' if share
                         else f'fill="{colour("sunken")}" stroke="{colour("line-strong")}" stroke-opacity=".6"')
                self.strokes.append(f'<rect x="{x + column * size:g}" y="{y + row * tall:g}" width="{size - 2:g}" '
                                    f'height="{tall - 2:g}" rx="1.5" {paint}/>')

    def sign(self, x: float, y: float, sign: str, *, learned: bool = False) -> None:
        """Draw a circle that adds or multiplies what comes in."""
        self.strokes.append(f'<circle cx="{x:g}" cy="{y:g}" r="11" {_paint(learned)}/>')
        self.text(x, y + 5, sign, learned=learned, size=15)

    def flow(self, *points: Point, arrow: bool = True) -> None:
        """Draw the way data takes through `points`, with a head at its end."""
        way = " ".join(f"{x:g},{y:g}" for x, y in points)
        line = f'fill="none" stroke="{colour("muted")}" stroke-width="1.5" stroke-linejoin="round"'
        self.strokes.append(f'<polyline points="{way}" {line}/>')
        if arrow:
            (x0, y0), (x, y) = points[-2:]
            dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
            wings = [(x - 6 * dx - 4 * dy, y - 6 * dy - 4 * dx), (x, y), (x - 6 * dx + 4 * dy, y - 6 * dy + 4 * dx)]
            head = " ".join(f"{px:g},{py:g}" for px, py in wings)
            self.strokes.append(f'<polygon points="{head}" fill="{colour("muted")}"/>')

    def text(self, x: float, y: float, words: str, *, learned: bool = False, size: float = LETTERS + 1,
             anchor: str = "middle", quiet: bool = False) -> None:
        """Write words with their baseline at `y`."""
        ink = colour("muted" if quiet else "accent-ink" if learned else "ink")
        weight = ' font-weight="600"' if learned else ""
        self.strokes.append(f'<text x="{x:g}" y="{y:g}" font-size="{max(size, LETTERS):g}" text-anchor="{anchor}" '
                            f'fill="{ink}"{weight}>{html.escape(words)}</text>')

    def note(self, x: float, y: float, words: str, *, anchor: str = "middle") -> None:
        """Write a quiet remark."""
        self.text(x, y, words, size=LETTERS, anchor=anchor, quiet=True)


def _paint(learned: bool, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    if learned:
        return f'fill="{colour("accent-soft")}" stroke="{colour("accent")}" stroke-width="2.2"{dashes}'
    return f'fill="{colour("sunken")}" stroke="{colour("line-strong")}" stroke-width="1.3"{dashes}'


def svg(name: str, title: str, described: str, draw: Callable[[Pen], None]) -> str:
    """Return one picture as an SVG document that stands by itself and inside a page."""
    pen = Pen()
    draw(pen)
    pen.box(194, 143, 10, 10)
    pen.note(208, 152, "frozen", anchor="start")
    pen.box(254, 143, 10, 10, learned=True)
    pen.note(268, 152, "learned", anchor="start")
    ids = f"method-{name}-title method-{name}-text"
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img" aria-labelledby="{ids}" font-family="ui-sans-serif, system-ui, '
            "'Segoe UI', Helvetica, Arial, sans-serif\">\n"
            f'<title id="method-{name}-title">{html.escape(title)}</title>\n'
            f'<desc id="method-{name}-text">{html.escape(described)}</desc>\n'
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{colour("panel")}"/>\n')
    return head + "\n".join(pen.strokes) + "\n</svg>\n"


def files(names: Iterable[str] | None = None) -> dict[Path, str]:
    """Return every picture by its path: that of each method there is a drawing for."""
    from docs.drawings import DRAWINGS

    titles = {name: kind.card.title for name, kind in methods.every().items()}
    wanted = list(titles) if names is None else list(names)
    return {FOLDER / f"{name}.svg": svg(name, titles.get(name, name), " ".join((DRAWINGS[name].__doc__ or "").split()),
                                        DRAWINGS[name]) for name in wanted if name in DRAWINGS}


def main() -> None:
    """Write the pictures of all methods there are."""
    FOLDER.mkdir(exist_ok=True)
    made = files()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    print(f"{len(made)} pictures written.")


if __name__ == "__main__":
    main()
