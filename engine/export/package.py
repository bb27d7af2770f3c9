"""Packs a trained result into one zip that loads elsewhere with plain peft, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, cast

from engine import adapter
from engine.adapter import Trained
from engine.errors import Cancelled, NotEnough
from engine.export import plain
from engine.export.readme import Facts, licence_note, readme
from engine.recipe import WAYS
from engine.starter import STARTERS

#: The zip format's earliest date: file times would make two downloads of one adapter differ.
EPOCH = (1980, 1, 1, 0, 0, 0)
CHUNK = 1024**2
KEPT = (".safetensors", ".json", ".jinja", ".txt", ".model", ".jsonl")
WRITTEN = ("README.md", "LICENCE-NOTE.txt", "spec.json", "environment.json", "SHA256SUMS")
#: JSON files whose strings may hold paths. Others, such as vocabularies, are copied byte for byte.
SCRUBBED = ("adapter_config.json", "studio.json", "tokenizer_config.json", "config.json", "generation_config.json")


def zip_adapter(folder: Path, out_zip: Path, *, facts: Mapping[str, Any] | None = None,
                progress: Callable[[float], None] | None = None,
                cancelled: Callable[[], bool] | None = None) -> Path:
    """Pack the adapter (or whole model) of `folder`, a run's or the adapter's own, into `out_zip` and return that.

    The zip holds one folder `<name>/`: a standard peft directory with README.md, spec.json, environment.json,
    LICENCE-NOTE.txt and SHA256SUMS. `facts` adds what the folder does not know: `name`, `licence`, `dataset`, `method`,
    `metrics`, `parameters`, `model_id`, `spec`, `environment`. No absolute path goes in. The file appears only when
    complete. Raises AdapterMissing, PickledAdapter, NotEnough, Cancelled.
    """
    given = dict(facts or {})
    inner, run = _places(folder)
    trained = adapter.read(inner)
    for name in ("spec", "environment", "result"):
        given.setdefault(name, _json(run / f"{name}.json"))
    about = describe(trained, given, fallback=folder.name)
    texts = _texts(inner, about, given)
    files = [path for path in sorted(inner.rglob("*")) if _wanted(path, inner) and _place(path, inner) not in texts]
    total = sum(path.stat().st_size for path in files) + sum(map(len, texts.values()))
    _check_disk(out_zip, total)
    partial = out_zip.with_name(f".tmp-{out_zip.name}")
    try:
        writer = _Writer(partial, about.name, total, progress, cancelled)
        with writer.file:
            for place in sorted({**texts, **{_place(path, inner): b"" for path in files}}):
                writer.add(place, texts.get(place) if place in texts else inner / place)
            writer.add("SHA256SUMS", "".join(f"{total}  {name}\n" for name, total in writer.sums.items()).encode())
        partial.replace(out_zip)
    finally:
        partial.unlink(missing_ok=True)
    return out_zip


def describe(trained: Trained, given: Mapping[str, Any], *, fallback: str = "adapter") -> Facts:
    """Return what is known about a result from its folder, its run's files and what the caller adds."""
    result: dict[str, Any] = given.get("result") or {}
    spec: dict[str, Any] = given.get("spec") or {}
    model_id = str(given.get("model_id") or trained.model_id or _base_path(trained))
    base, local, note = public_id(model_id)
    starter = STARTERS.get(model_id)
    method = given.get("method") or trained.method or dict[str, Any](spec.get("method") or {}).get("name", "")
    there: dict[str, Any] = dict(given.get("environment") or {}).get("model") or {}
    licence = given.get("licence") or there.get("licence") or (starter.licence if starter else "")
    # What was combined has these of its first parent.
    file = "" if trained.composed else trained.data.get("train", "")
    data = given.get("dataset") or file or dict[str, Any](spec.get("data") or {}).get("train", "")
    return Facts(
        name=_slug(str(given.get("name") or fallback)), kind=trained.kind, task=trained.task or _task(trained),
        base=base, local=local, note=note, revision=None if local or starter else trained.revision,
        licence=str(licence), labels=tuple(trained.labels),
        problem=trained.problem, columns=trained.columns, max_length=trained.max_length,
        quantization=trained.quantization, chat_template=_has_template(trained.folder), method=str(method),
        composed=_lineage(trained),
        own_tuner=trained.kind == "adapter" and adapter.is_own(trained.folder),
        plain=trained.kind == "adapter" and plain.possible(trained.folder, trained.task or _task(trained)),
        dataset=str(scrub(str(data))), metrics=given.get("metrics") or result.get("metrics") or {},
        parameters=given.get("parameters") or result.get("parameters") or {})


def public_id(model_id: str) -> tuple[str, bool, str]:
    """Return the name a base model has for everybody, whether it is only local, and how it differs from that name."""
    starter = STARTERS.get(model_id)
    if starter is not None:
        rounded = starter.weights.endswith(".gguf")
        note = (f"It was trained on the studio's starter copy of that model, whose weights are rounded "
                f"({starter.weights.rpartition('.gguf')[0].rpartition('.')[2]}); on the original, answers can differ "
                "slightly.") if rounded else ""
        return starter.origin, False, note
    name = model_id.removeprefix("hub:")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith(("local/", "tiny/", "./", "../")):
        return name, False, ""
    return PureWindowsPath(name).name or "base-model", True, ""


def scrub(value: Any, key: str = "") -> Any:
    """Return a JSON value in which absolute paths are cut to their last part; label names stay as they are."""
    if isinstance(value, dict):
        return {name: scrub(item, name) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [item if key == "labels" else scrub(item, key) for item in cast("list[Any]", value)]
    if isinstance(value, str) and "\n" not in value and (
            (len(PurePosixPath(value).parts) > 2 and value.startswith(("/", "~/")))
            or re.match(r"[A-Za-z]:[\\/]", value) or value.startswith(("file://", "\\\\"))):
        return PureWindowsPath(value).name
    return value


class _Writer:
    """Writes zip members one after the other in pieces, counting bytes and hashing on the way."""

    def __init__(self, path: Path, root: str, total: int, progress: Callable[[float], None] | None,
                 cancelled: Callable[[], bool] | None) -> None:
        self.file = zipfile.ZipFile(path, "w", strict_timestamps=True)
        self.root, self.total, self.done = root, max(total, 1), 0
        self.progress: Callable[[float], None] = progress or _unheard
        self.cancelled = cancelled or (lambda: False)
        self.sums: dict[str, str] = {}

    def add(self, place: str, content: bytes | Path | None) -> None:
        """Write one member from bytes or from a file."""
        info = zipfile.ZipInfo(f"{self.root}/{place}", EPOCH)
        info.create_system, info.external_attr = 3, 0o644 << 16
        info.compress_type = zipfile.ZIP_STORED if place.endswith(".safetensors") else zipfile.ZIP_DEFLATED
        info.file_size = content.stat().st_size if isinstance(content, Path) else len(content or b"")
        sum_ = hashlib.sha256()
        with self.file.open(info, "w") as member:
            for chunk in _chunks(content):
                if self.cancelled():
                    raise Cancelled("download")
                member.write(chunk)
                sum_.update(chunk)
                self.done += len(chunk)
                self.progress(min(1.0, self.done / self.total))
        self.sums[place] = sum_.hexdigest()


def _unheard(fraction: float) -> None:
    """Progress nobody asked for."""


def _chunks(content: bytes | Path | None) -> Any:
    if isinstance(content, Path):
        with content.open("rb") as file:
            yield from iter(lambda: file.read(CHUNK), b"")
    elif content:
        yield content


def _places(folder: Path) -> tuple[Path, Path]:
    """Return the folder with the weights and the one with the run's own files."""
    for name in ("adapter", "model"):
        if (folder / name).is_dir():
            return folder / name, folder
    return folder, folder.parent if folder.name in ("adapter", "model") else folder


def _texts(inner: Path, about: Facts, given: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the members that are written rather than copied."""
    texts = {"README.md": readme(about).encode(), "LICENCE-NOTE.txt": licence_note(about).encode(),
             "spec.json": _dump(scrub(given.get("spec") or {})),
             "environment.json": _dump(scrub(given.get("environment") or {}))}
    if about.plain:
        texts |= plain.files(inner, about.base, about.revision)
    for name in SCRUBBED:
        if (inner / name).is_file():
            value = scrub(_json(inner / name))
            if name == "adapter_config.json":
                value |= {"base_model_name_or_path": about.base, "revision": about.revision}
            texts[name] = _dump(value)
    return texts


def _wanted(path: Path, inner: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(inner).parts)
    return (path.is_file() and not path.is_symlink() and not hidden and path.suffix in KEPT
            and path.name not in WRITTEN)


def _place(path: Path, inner: Path) -> str:
    return path.relative_to(inner).as_posix()


def _base_path(trained: Trained) -> str:
    return str(_json(trained.folder / "adapter_config.json").get("base_model_name_or_path") or "base-model")


def _task(trained: Trained) -> str:
    kind = _json(trained.folder / "adapter_config.json").get("task_type")
    return {"SEQ_CLS": "text_classification", "CAUSAL_LM": "causal_lm", "TOKEN_CLS": "token_classification",
            "SEQ_2_SEQ_LM": "seq2seq"}.get(str(kind), "causal_lm")


def _lineage(trained: Trained) -> str:
    """Return how a composed adapter was combined, in words; nothing for a trained one."""
    if not trained.composed:
        return ""
    how = WAYS[trained.composed["recipe"]["how"]].title
    shares = zip(trained.composed["parents"], trained.composed["weights"], strict=True)
    return f"combined ({how}) of " + ", ".join(f"{name} ({weight:.4g})" for name, weight in shares)


def _has_template(folder: Path) -> bool:
    settings = _json(folder / "tokenizer_config.json")
    return (folder / "chat_template.jinja").is_file() or bool(settings.get("chat_template"))


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name.strip()).strip(".-") or "adapter"


def _check_disk(out_zip: Path, needed: int) -> None:
    out_zip.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out_zip.parent).free
    if free < needed + CHUNK:
        raise NotEnough(out_zip.name, resource="disk space", needed=f"{needed / 1e6:.0f} MB",
                        available=f"{free / 1e6:.0f} MB", try_this="Free some disk space and start again.")


def _dump(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n").encode()


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value: Any = json.loads(path.read_text(encoding="utf-8"))
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
