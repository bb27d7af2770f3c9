"""The look: one palette for light and dark, used by Gradio's theme, our stylesheet and every figure."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import gradio as gr
from gradio.themes.utils import colors

Mode = Literal["light", "dark"]

STATIC = Path(__file__).parent / "static"

SANS = ["ui-sans-serif", "Segoe UI Variable Text", "Segoe UI", "system-ui", "-apple-system", "Helvetica Neue",
        "Noto Sans", "Liberation Sans", "Arial", "sans-serif"]
SERIF = ["Iowan Old Style", "Palatino Linotype", "Palatino", "URW Palladio L", "P052", "Book Antiqua", "Georgia",
         "Noto Serif", "Liberation Serif", "serif"]
MONO = ["ui-monospace", "SF Mono", "Cascadia Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "Liberation Mono",
        "monospace"]

#: Colour tokens. `ink` and `muted` on every background and every `*-ink` on its own fill reach WCAG AA (4.5:1);
#: `line-strong`, `accent` and the series reach 3:1 on both backgrounds (tests/unit/test_plots.py holds it).
PALETTE: dict[Mode, dict[str, str]] = {
    "light": {
        "paper": "#f6f4ef", "panel": "#fffefb", "sunken": "#efece4", "line": "#dfdacf", "line-strong": "#8b8577",
        "ink": "#1f2528", "muted": "#5c6063", "accent": "#0b6b5d", "accent-hover": "#085347", "on-accent": "#ffffff",
        "accent-soft": "#dcece7", "accent-ink": "#07564a",
        "good": "#2f6f2f", "good-soft": "#e2efdd", "good-ink": "#275d27",
        "warn": "#9a5b00", "warn-soft": "#faeccb", "warn-ink": "#7a4700",
        "bad": "#b3261e", "bad-soft": "#fae3df", "bad-ink": "#8f1d17",
        "info": "#2c5f9e", "info-soft": "#e0eaf6", "info-ink": "#244f84",
        "heat-low": "#cfe6df", "heat-high": "#0b6b5d",
        "shadow": "0 1px 2px rgb(40 34 20 / 6%), 0 4px 16px rgb(40 34 20 / 5%)",
    },
    "dark": {
        "paper": "#14181a", "panel": "#1c2225", "sunken": "#101416", "line": "#30383c", "line-strong": "#78848a",
        "ink": "#e9e6df", "muted": "#a6aeb0", "accent": "#5fc2ae", "accent-hover": "#83d4c3", "on-accent": "#06231e",
        "accent-soft": "#1b3b36", "accent-ink": "#9be0d2",
        "good": "#7fc07f", "good-soft": "#1e3520", "good-ink": "#a8dba6",
        "warn": "#e0a949", "warn-soft": "#3d2f12", "warn-ink": "#f0cb86",
        "bad": "#f08a80", "bad-soft": "#46211e", "bad-ink": "#f7b6ae",
        "info": "#86b3e6", "info-soft": "#1d3148", "info-ink": "#b3d1f2",
        "heat-low": "#24433e", "heat-high": "#5fc2ae",
        "shadow": "0 1px 2px rgb(0 0 0 / 30%), 0 4px 16px rgb(0 0 0 / 18%)",
    },
}

#: Line and bar colours, told apart by hue and lightness; the same in both modes so that a colour keeps its run.
SERIES = ["#138c7a", "#c2562d", "#4f7fd0", "#a8752a", "#a45fc4", "#5f8f2f", "#d0528a", "#3f8fb0", "#8a7a55", "#7b6fe0"]


def contrast(first: str, second: str) -> float:
    """Return the WCAG contrast ratio of two #rrggbb colours, from 1 to 21."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@cache
def css() -> str:
    """Return the whole stylesheet: the palette as custom properties, then the files in studio/static."""
    series = "".join(f"--ps-series-{i}:{colour};" for i, colour in enumerate(SERIES, 1))
    fonts = f"--ps-sans:{_family(SANS)};--ps-serif:{_family(SERIF)};--ps-mono:{_family(MONO)};"
    light, dark = (_variables(PALETTE[mode]) for mode in ("light", "dark"))
    return (f":root{{{light}{series}{fonts}color-scheme:light}}\n"
            f":root:has(body.dark),.dark{{{dark}color-scheme:dark}}\n"
            + (STATIC / "studio.css").read_text(encoding="utf-8")
            + "".join(f".gradio-container {{\n{(STATIC / name).read_text(encoding='utf-8')}}}\n"
                      for name in ("pages.css", "data.css", "prepare.css", "train.css")))


def _family(names: list[str]) -> str:
    return ",".join(f"'{name}'" if " " in name else name for name in names)


def _variables(tokens: dict[str, str]) -> str:
    return "".join(f"--ps-{name}:{value};" for name, value in tokens.items())


class Studio(gr.themes.Base):
    """Gradio's own variables pointed at the palette, so that its components look like ours."""

    def __init__(self) -> None:
        """Build the theme; it asks for no font and no file of anybody else's."""
        teal = colors.Color("#eef7f4", "#dcece7", "#b7dad1", "#8cc4b7", "#5fc2ae", "#2b9483", "#0b6b5d", "#085347",
                            "#06423a", "#04332d", "#02211d", name="teal")
        stone = colors.Color("#fffefb", "#f6f4ef", "#efece4", "#dfdacf", "#a6aeb0", "#78848a", "#5c6063", "#30383c",
                             "#1c2225", "#14181a", "#101416", name="stone")
        super().__init__(primary_hue=teal, secondary_hue=teal, neutral_hue=stone, font=SANS, font_mono=MONO,
                         radius_size=gr.themes.sizes.radius_md, spacing_size=gr.themes.sizes.spacing_md,
                         text_size=gr.themes.sizes.text_md)
        self.name = "studio"
        super().set(**_both({
            "body_background_fill": "paper", "body_text_color": "ink", "body_text_color_subdued": "muted",
            "background_fill_primary": "panel", "background_fill_secondary": "sunken",
            "border_color_primary": "line", "border_color_accent": "accent", "border_color_accent_subdued": "line",
            "color_accent_soft": "accent-soft", "link_text_color": "accent-ink", "link_text_color_hover": "accent",
            "link_text_color_active": "accent", "link_text_color_visited": "accent-ink",
            "code_background_fill": "sunken", "block_background_fill": "panel", "block_border_color": "line",
            "block_info_text_color": "muted", "block_label_background_fill": "panel",
            "block_label_border_color": "line", "block_label_text_color": "ink", "block_title_text_color": "ink",
            "panel_background_fill": "panel", "panel_border_color": "line", "accordion_text_color": "ink",
            "table_text_color": "ink", "table_border_color": "line", "table_even_background_fill": "panel",
            "table_odd_background_fill": "panel", "table_row_focus": "accent-soft",
            "checkbox_background_color": "panel", "checkbox_background_color_focus": "panel",
            "checkbox_background_color_hover": "panel", "checkbox_background_color_selected": "accent",
            "checkbox_border_color": "line-strong", "checkbox_border_color_focus": "accent",
            "checkbox_border_color_hover": "accent", "checkbox_border_color_selected": "accent",
            "checkbox_label_background_fill": "panel", "checkbox_label_background_fill_hover": "sunken",
            "checkbox_label_background_fill_selected": "accent-soft", "checkbox_label_border_color": "line",
            "checkbox_label_text_color": "ink", "checkbox_label_text_color_selected": "accent-ink",
            "error_background_fill": "bad-soft", "error_border_color": "bad", "error_text_color": "bad-ink",
            "error_icon_color": "bad", "input_background_fill": "panel", "input_background_fill_focus": "panel",
            "input_background_fill_hover": "panel", "input_border_color": "line-strong",
            "input_border_color_focus": "accent", "input_border_color_hover": "ink",
            "input_placeholder_color": "muted", "loader_color": "accent", "slider_color": "accent",
            "stat_background_fill": "accent", "button_primary_background_fill": "accent",
            "button_primary_background_fill_hover": "accent-hover", "button_primary_border_color": "accent",
            "button_primary_border_color_hover": "accent-hover", "button_primary_text_color": "on-accent",
            "button_primary_text_color_hover": "on-accent", "button_secondary_background_fill": "panel",
            "button_secondary_background_fill_hover": "sunken", "button_secondary_border_color": "line-strong",
            "button_secondary_border_color_hover": "ink", "button_secondary_text_color": "ink",
            "button_secondary_text_color_hover": "ink", "button_cancel_background_fill": "panel",
            "button_cancel_background_fill_hover": "bad-soft", "button_cancel_border_color": "bad",
            "button_cancel_border_color_hover": "bad", "button_cancel_text_color": "bad-ink",
            "button_cancel_text_color_hover": "bad-ink",
        }), color_accent="var(--ps-accent)", block_shadow="none", block_shadow_dark="none", input_shadow="none",
            input_shadow_dark="none", input_shadow_focus="0 0 0 2px var(--ps-accent-soft)", button_border_width="1px",
            input_shadow_focus_dark="0 0 0 2px var(--ps-accent-soft)", block_label_text_weight="600",
            block_title_text_weight="600", button_large_text_weight="600", button_medium_text_weight="600",
            button_transition="background-color .12s, border-color .12s", block_border_width="1px",
            prose_header_text_weight="600", layout_gap="16px", checkbox_label_border_width="1px",
            input_border_width="1px")


def _both(tokens: dict[str, str]) -> dict[str, str]:
    """Return each theme variable for light and dark: the custom property itself changes with the mode."""
    return {name + suffix: f"var(--ps-{token})" for name, token in tokens.items() for suffix in ("", "_dark")
            if name + suffix != "color_accent_dark"}
