"""What is said of a document that is no run."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import UnknownKey
from engine.spec import parse

RUN: dict[str, Any] = {"task": "text_classification", "model": {"id": "tiny/bert"}, "data": {"train": "ds_1"},
                       "method": {"name": "lora"}}


@pytest.mark.parametrize(("change", "named", "alike"), [
    ({"method": {"name": "lora", "rr": 4}}, "rr", "r"), ({"training": {"epoch": 3}}, "epoch", "epochs")])
def test_an_unknown_key_gets_those_written_alike_and_how_many_others_there_are(
        change: dict[str, Any], named: str, alike: str) -> None:
    with pytest.raises(UnknownKey) as raised:
        parse(RUN | change)
    assert raised.value.what.startswith(f"'{named}' is not a setting of ")
    hint = raised.value.try_this
    assert hint.startswith(f"Remove it, or use one of: {alike}") and "others)" in hint


def test_an_unknown_key_like_no_other_gets_all_of_them() -> None:
    with pytest.raises(UnknownKey) as raised:
        parse(RUN | {"model": {"id": "tiny/bert", "zzz": 1}})
    assert raised.value.try_this == "Remove it, or use one of: id, revision, quantization."
