"""Settings as a person reads them."""

from __future__ import annotations

from typing import Any

import pytest

from studio.pages.settings import words


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("max_upload_bytes", 8 * 2**30, "8.59 GB (8,589,934,592 bytes)"), ("auth", False, "off"), ("auth", True, "on"),
    ("heartbeat_seconds", 10.0, "10 seconds"), ("threads", None, "–"), ("port", 7860, "7860"),
    ("trusted_proxies", "", "–")])
def test_values_are_said_in_words(name: str, value: Any, shown: str) -> None:
    assert words(name, value) == shown
