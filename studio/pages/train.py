"""Train: choose data, model, method and settings, see what they mean, start."""

from __future__ import annotations

from studio import shell
from studio.pages import Page

PAGE = Page("train", "Train", icon="M10.5 2.5 5 11h4.5l-1 6.5L15 8.5h-4.5z")


def build() -> None:
    """Draw the page."""
    with shell.frame(PAGE, title="Train", lead="Choose what to teach, to which model, and how."):
        pass
