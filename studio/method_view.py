"""A method's card in full: its picture, formula, paper, when to use it and when not, typical settings."""

from __future__ import annotations

from functools import cache

from engine import methods
from studio.text import esc
from studio.theme import STATIC


@cache
def picture(name: str) -> str:
    """Return a method's picture as inline SVG, which follows the page's colours; "" where there is none."""
    if name not in methods.every():
        return ""
    path = STATIC / "methods" / f"{name}.svg"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def about(name: str) -> str:
    """Return the card of one method; "" for a name that is no method."""
    kind = methods.every().get(name)
    if kind is None:
        return ""
    card = kind.card
    source = f'<a href="{esc(card.url)}" target="_blank" rel="noreferrer">{esc(card.paper)}</a>' if card.url \
        else esc(card.paper)
    said = [("Use it when", card.use_when), ("Look elsewhere when", card.avoid_when),
            ("Typical settings", card.settings),
            ("Merging", "The result can be merged into the base model." if card.mergeable
             else "The result stays beside the base model; it cannot be merged into it.")]
    rows = "".join(f"<div><dt>{label}</dt><dd>{esc(text)}</dd></div>" for label, text in said if text)
    formula = f'<p class="ps-formula">{esc(card.formula)}</p>' if card.formula else ""
    return (f'<div class="ps-about-method"><figure class="ps-picture">{picture(name)}</figure><div>'
            f'<h3 class="ps-small-title">{esc(card.title)}</h3>{formula}'
            f'<p class="ps-under">{source}</p></div><dl class="ps-advice">{rows}</dl></div>')
