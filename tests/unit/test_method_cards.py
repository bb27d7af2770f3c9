"""Every method has a complete card and a picture that anybody can read."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from docs import generate, pictures
from docs.drawings import DRAWINGS
from engine import methods
from studio import method_view
from studio.theme import PALETTE, contrast

NAMES = sorted(methods.every())
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", NAMES)
def test_a_method_says_all_a_person_must_know_before_choosing_it(name: str) -> None:
    card = methods.get(name).card
    missing = [field for field in ("title", "summary", "paper", "url", "use_when", "avoid_when", "settings", "formula")
               if not getattr(card, field).strip()]
    assert not missing, f"the card of {name} lacks {', '.join(missing)}"
    assert card.url.startswith("https://")


@pytest.mark.parametrize("name", NAMES)
def test_a_method_has_the_picture_that_is_drawn_for_it(name: str) -> None:
    assert name in DRAWINGS, f"docs/drawings.py draws nothing for {name}"
    (path, text), = pictures.files([name]).items()
    assert path.read_text(encoding="utf-8") == text, "run `python -m docs.generate`"
    assert f"methods/{name}.svg" in generate.method_page(name, methods.get(name))
    assert text in method_view.about(name)


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_a_picture_stays_inside_its_frame_with_letters_large_enough_and_words_for_it(name: str) -> None:
    text = next(iter(pictures.files([name]).values()))
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img" and root.findtext(f"{SVG}title") and len(root.findtext(f"{SVG}desc") or "") > 30
    assert all(float(found) >= 11 for found in re.findall(r'font-size="([\d.]+)"', text))
    assert "learned" in text and "frozen" in text
    for shape in root.iter(f"{SVG}rect"):
        x, y, width, height = (float(shape.get(side, 0)) for side in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + width <= pictures.WIDTH and y + height <= pictures.HEIGHT
    for line in root.iter(f"{SVG}polyline"):
        places = [tuple(map(float, place.split(","))) for place in (line.get("points") or "").split()]
        assert all(0 <= x <= pictures.WIDTH and 0 <= y <= pictures.HEIGHT for x, y in places)


def test_the_colours_of_pictures_are_those_of_the_light_page_and_tell_learned_from_frozen() -> None:
    assert {name: PALETTE["light"][name] for name in pictures.COLOURS} == pictures.COLOURS
    for palette in PALETTE.values():
        assert contrast(palette["accent-ink"], palette["accent-soft"]) >= 4.5
        assert contrast(palette["ink"], palette["sunken"]) >= 4.5
        assert contrast(palette["accent"], palette["panel"]) >= 3
