"""Adding a base model: by its id, from uploaded files, or from a folder on this machine."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from db import models
from db.errors import Conflict
from db.settings import settings
from db.tables import Model
from db.users import LOCAL as LOCAL_USER
from db.users import User
from engine import gguf, starter
from engine.errors import ModelError, NotEnough
from engine.weights import PICKLES, NoWeights, PickleWeights
from worker import client

#: <org>/<name> as the Hub allows it.
HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Files that belong to a model; others in a folder are left where they are.
ADVICE = "Add a .safetensors file with its config.json and tokenizer files, or one .gguf file."
KEPT = (".safetensors", ".gguf", ".json", ".txt", ".model", ".jinja", ".md")


class BadReference(ModelError):
    """'{ref}' does not name a base model."""

    kind = "model_reference_invalid"
    try_this = "Write starter/<name>, local/<name>, or <org>/<name> as on the Hub."


class BadModelName(ModelError):
    """'{name}' cannot be the name of a local model."""

    kind = "model_name_invalid"
    try_this = "Use up to 100 letters, digits, '.', '-' and '_', beginning with a letter or digit."


class NameTaken(Conflict):
    """There is already a local model called '{name}'."""

    kind = "model_name_taken"
    try_this = "Choose another name, or delete that model first."


class NoSuchFolder(ModelError):
    """There is no folder at '{path}'."""

    kind = "model_not_found"
    try_this = "Check the path; it must be a folder on the machine the studio runs on."


class NotYours(ModelError):
    """Only administrators may add folders of the machine the studio runs on."""

    kind = "folder_refused"
    try_this = "Upload the model's files instead."
    status = 403


class TwiceNamed(ModelError):
    """There are two files called '{file}'."""

    kind = "model_file_twice"
    try_this = "Leave one of them out."


def add_model(user: User, ref: str, *, revision: str | None = None, title: str = "") -> Model:
    """Add a base model by its id and have the worker find and measure it; one already added is returned as it is.

    Raises BadReference, UnknownStarter, StarterMissing.
    """
    ref = ref.strip().removeprefix("hub:")
    kind, _, name = ref.partition("/")
    source = kind if kind in ("starter", "local", "tiny") else "hub"
    if kind == "starter":
        info = starter.get(ref)
        if not starter.installed(info):
            raise starter.StarterMissing(ref, title=info.title, package=info.package)
        title = title or info.title
    elif kind in ("local", "tiny"):
        # Another's model is refused as if there were none.
        if not LOCAL.fullmatch(name) or (kind == "local" and not name.startswith(_owned(user, ""))):
            raise BadReference("model.id", ref=ref[:80])
    elif not HUB.fullmatch(ref) or ".." in ref:
        raise BadReference("model.id", ref=ref[:80])
    row = models.create(user, ref=ref, revision=revision or None, title=title, source=source)
    if row.state == "queued":
        client.inspect_model(row.id)
    return row


def add_model_files(user: User, name: str, files: Sequence[tuple[str, Path]], *, move: bool = False,
                    title: str = "") -> Model:
    """Add a local model of uploaded (file name, path) pairs; `move` takes the files away from where they are.

    A worker converts a GGUF file. Raises BadModelName, NameTaken, NoWeights, PickleWeights, NotGguf, SeveralGguf,
    TwiceNamed, NotEnough.
    """
    names = [PurePosixPath(told.replace("\\", "/")).name for told, _ in files]
    if twice := next((one for one in names if names.count(one) > 1), None):
        raise TwiceNamed(twice, file=twice)
    if not any(n.lower().endswith((".safetensors", ".gguf")) for n in names):
        _refuse_pickles(names)
        raise NoWeights(", ".join(names[:8]), try_this=ADVICE)
    name = _owned(user, name)
    place = _new_place(name, sum(path.stat().st_size for _, path in files))
    partial = Path(tempfile.mkdtemp(prefix=".adding-", dir=place.parent))
    try:
        for told, (_, path) in zip(names, files, strict=True):
            if told.lower().endswith(KEPT):
                (shutil.move if move else shutil.copy2)(path, partial / told)
        gguf.the_one(list(partial.iterdir()))
        partial.chmod(0o755)
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _added(user, name, title)


def add_model_folder(user: User, folder: Path, *, name: str = "", title: str = "") -> Model:
    """Add a folder of this machine as a local model; its files are linked where the disk allows, else copied.

    A worker converts a GGUF file. Raises NotYours, NoSuchFolder, BadModelName, NameTaken, NoWeights, PickleWeights,
    NotGguf, SeveralGguf, NotEnough.
    """
    if user.role != "admin":
        raise NotYours(str(folder))
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise NoSuchFolder(str(folder), path=folder)
    name = name or local_name(folder)
    found = sorted(path for path in folder.iterdir() if path.is_file())
    names = [path.name for path in found]
    if not any(n.lower().endswith((".safetensors", ".gguf")) for n in names):
        _refuse_pickles(names)
        raise NoWeights(str(folder), try_this=ADVICE)
    name = _owned(user, name)
    place = _new_place(name, 0)
    partial = Path(tempfile.mkdtemp(prefix=".adding-", dir=place.parent))
    try:
        for path in found:
            if path.name.lower().endswith(KEPT):
                _link(path.resolve(), partial / path.name)
        gguf.the_one(list(partial.iterdir()))
        partial.chmod(0o755)
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _added(user, name, title or folder.name)


def local_name(folder: Path) -> str:
    """Return what the model of a folder is called when nobody says."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.expanduser().absolute().name).strip("-._")[:100] or "model"


def cancel_model(user: User, id: str) -> Model:
    """Stop fetching or measuring a model."""
    client.cancel("model", id)
    return models.get(user, id)


def delete_model(user: User, id: str) -> None:
    """Forget a model, and delete its files when the studio keeps them; raises InUse while a run trains on it."""
    row = models.delete(user, id)
    if row.source == "local":
        shutil.rmtree(_local(row.ref.partition("/")[2]), ignore_errors=True)


def _owned(user: User, name: str) -> str:
    """Return the name of a user's model on disk: in a studio with accounts it tells whose it is."""
    return name if user.id == LOCAL_USER else f"{user.id}.{name}"


def _added(user: User, name: str, title: str) -> Model:
    shown = title or name.removeprefix(_owned(user, ""))
    row = models.create(user, ref=f"local/{name}", title=shown, source="local")
    client.inspect_model(row.id)
    return row


def _local(name: str) -> Path:
    return settings().data_dir / "models" / "local" / name


def _new_place(name: str, size: int) -> Path:
    if not LOCAL.fullmatch(name):
        raise BadModelName("name", name=name[:80])
    place = _local(name)
    if place.exists():
        raise NameTaken("name", name=name)
    place.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.parent).free
    if free < size + settings().min_free_bytes:
        raise NotEnough(name, resource="disk space", needed=f"{size} bytes", available=f"{free} bytes")
    return place


def _refuse_pickles(names: Sequence[str]) -> None:
    for name in names:
        if name.lower().endswith(PICKLES):
            raise PickleWeights(name, file=name)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
