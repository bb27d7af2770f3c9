"""GGUF files, as llama.cpp keeps models, turned into ordinary model directories."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import weights
from engine.errors import Cancelled, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[float], None]
MAGIC = b"GGUF"
#: Raise when the way files are converted changes: folders made by another version are made again.
VERSION = 1
#: Names in `tokenizer.ggml.pre` of tokenizers that split numbers into digits, which the conversion forgets.
DIGITS = ("smollm", "starcoder", "refact", "command-r")


class NotGguf(ModelError):
    """The file '{file}' is not a GGUF model."""

    kind = "gguf_invalid"
    try_this = "Upload a complete .gguf file, or safetensors with config and tokenizer."


class GgufUnsupported(ModelError):
    """The GGUF model '{file}' cannot be converted: {problem}."""

    kind = "gguf_unsupported"
    try_this = "Use a safetensors version of the model."


class BrokenGguf(ModelError):
    """The GGUF file '{file}' cannot be read: it is damaged, cut short, or of an unknown version."""

    kind = "gguf_broken"
    try_this = "Copy or download the file again."


class SeveralGguf(ModelError):
    """There are several GGUF files ({files}), each a model of its own."""

    kind = "gguf_several"
    try_this = "Keep one .gguf file, and add the others as models of their own."


def is_gguf(path: Path) -> bool:
    """Return whether a file begins as a GGUF file does."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def the_one(paths: Sequence[Path]) -> Path | None:
    """Return the GGUF file that a model's files consist of; None where there are safetensors, or no GGUF file.

    Raises SeveralGguf, and NotGguf for another file of that name.
    """
    found = sorted(path for path in paths if path.suffix.lower() == ".gguf")
    if not found or any(path.suffix.lower() == ".safetensors" for path in paths):
        return None
    if len(found) > 1:
        raise SeveralGguf(found[1].name, files=", ".join(path.name for path in found[:8]))
    if not is_gguf(found[0]):
        raise NotGguf(found[0].name, file=found[0].name)
    return found[0]


def settled(folder: Path, *, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> Path:
    """Return `folder`; where its weights are one GGUF file, the converted model has taken the file's place by then.

    Raises SeveralGguf and what `converted` raises; the folder is as it was then.
    """
    source = the_one(list(folder.iterdir())) if folder.is_dir() else None
    return converted(source, folder, progress=progress, cancelled=cancelled) if source else folder


def converted(source: Path, target: Path, *, progress: Progress | None = None,
              cancelled: Callable[[], bool] | None = None) -> Path:
    """Return `target`, a model directory with the contents of the GGUF file `source`, converting once.

    Weights become bfloat16 safetensors; tokenizer and chat template are kept. The folder appears whole or not at all.
    Raises NotGguf, BrokenGguf, GgufUnsupported or Cancelled.
    """
    facts = {"version": VERSION, "file": source.name, "bytes": source.stat().st_size, "sha256": weights.sha256(source)}
    if _made_from(target, facts):
        return target
    if not is_gguf(source):
        raise NotGguf(str(source), file=source.name)
    told, stop = progress or (lambda _: None), cancelled or (lambda: False)
    _stop_if(stop, source)
    with building(target) as folder:
        try:
            _write(source, folder, told, stop)
        except (ValueError, KeyError, NotImplementedError, RuntimeError, ImportError, IndexError) as error:
            problem = str(error).strip().partition("\n")[0] or type(error).__name__
            raise GgufUnsupported(str(source), file=source.name, problem=problem) from error
        (folder / "converted.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    told(1.0)
    return target


def _made_from(target: Path, facts: dict[str, Any]) -> bool:
    made = target / "converted.json"
    return made.is_file() and weights.read_json(made) == facts


@contextmanager
def building(target: Path) -> Generator[Path, None, None]:
    """Give an empty folder that takes the place of `target` when the block ends well, and vanishes otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=target.parent))
    try:
        folder.chmod(0o755)
        yield folder
        old = target.with_name(f".old-{target.name}-{os.getpid()}")
        if target.exists():
            target.rename(old)
        try:
            folder.rename(target)
        except OSError:
            # Somebody else finished the same work first: theirs is as good.
            if not target.exists():
                raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(source: Path, folder: Path, progress: Progress, cancelled: Callable[[], bool]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from engine.skeleton import quiet

    metadata = _metadata(source)
    progress(0.1)
    _stop_if(cancelled, source)
    place: dict[str, Any] = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name,
                             "local_files_only": True}
    with quiet():
        read = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
        progress(0.6)
        _stop_if(cancelled, source)
        # A model read from GGUF counts as quantized and refuses to be saved; its numbers do not.
        with torch.device("meta"):
            fresh = AutoModelForCausalLM.from_config(_plain_config(read.config), dtype=torch.bfloat16)
        fresh.load_state_dict({name: tensor.to(torch.bfloat16) for name, tensor in read.state_dict().items()},
                              assign=True)
        fresh.tie_weights()
        del read
        fresh.save_pretrained(folder)
        progress(0.85)
        _stop_if(cancelled, source)
        context = int(getattr(fresh.config, "max_position_embeddings", 0) or 0)
        _tokenizer(place, metadata, context).save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    progress(0.95)


def _plain_config(configuration: Any) -> Any:
    values = configuration.to_dict()
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        values.pop(name, None)
    return type(configuration).from_dict(values)


def _stop_if(cancelled: Callable[[], bool], source: Path) -> None:
    if cancelled():
        raise Cancelled(str(source))


def _metadata(source: Path) -> dict[str, str]:
    """Return the short text fields of a GGUF file's header; raises BrokenGguf unless all its tensors are there."""
    from gguf import GGUFReader, GGUFValueType

    try:
        reader = GGUFReader(source)
        return {name: str(field.contents()) for name, field in reader.fields.items()
                if field.types == [GGUFValueType.STRING]}
    except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
        # The reader maps the file and trusts its counts: what is missing shows as slices that are too short.
        raise BrokenGguf(str(source), file=source.name) from error


def _tokenizer(place: dict[str, Any], metadata: dict[str, str], context: int) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a GGUF file with digit splitting, chat template and longest input put back."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    read: Any = AutoTokenizer.from_pretrained(**place)
    backend = read.backend_tokenizer
    if metadata.get("tokenizer.ggml.pre", "") in DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    special = {key: str(value) for key, value in read.special_tokens_map.items() if isinstance(value, str)}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=context or read.model_max_length, clean_up_tokenization_spaces=False,
        chat_template=read.chat_template or metadata.get("tokenizer.chat_template"), **special)
