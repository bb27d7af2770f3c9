"""Home: what this is, a first run in two clicks, what happened last."""

from __future__ import annotations

from studio import shell
from studio.pages import Page

PAGE = Page("home", "Home", icon="M3 9.5 10 3.5l7 6M5 8.5V16.5h10V8.5M8.5 16.5v-4.5h3v4.5")


def build() -> None:
    """Draw the page."""
    with shell.frame(PAGE, title="Fine-tune a model, see what it learned",
                     lead="Bring a table of text, pick a model and a method, and watch it train on your own machine."):
        pass
