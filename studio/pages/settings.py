"""Settings: where things are, who works, which versions, and whether everything is in order."""

from __future__ import annotations

from studio import shell
from studio.pages import Page

PAGE = Page("settings", "Settings", icon="M3.5 6h7M14.5 6h2M12.5 4v4M3.5 14h2M9.5 14h7M7.5 12v4")


def build() -> None:
    """Draw the page."""
    with shell.frame(PAGE, title="Settings", lead="Where things are stored, who works for you, whether all is well."):
        pass
