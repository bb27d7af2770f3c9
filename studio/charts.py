"""A figure under its heading."""

from __future__ import annotations

import gradio as gr

from studio import plots, shell
from studio.text import esc


def chart(title: str, elem_id: str) -> gr.HTML:
    """Draw a heading and a figure beneath it, as one block, and return the figure to update."""
    with gr.Column(elem_classes=["ps-chart"], min_width=0):
        shell.html(f'<h3 class="ps-chart-title">{esc(title)}</h3>')
        return plots.figure(elem_id=elem_id, label=title)
