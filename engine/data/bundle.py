"""Which files of a folder or archive hold rows, which are to learn from, and which to evaluate on."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from engine.data.entries import Entry
from engine.data.errors import MemberBroken, NothingInside, PartMissing

Layout = Literal["tables", "classes", "documents", "images", "idx"]
#: The part to evaluate on, as `Source.part` asks for it; "" is the part to learn from, ALL every file of a layout.
EVAL, ALL = "eval", "all"
#: Words in the names of files and folders that say which part of a dataset they hold.
PARTS = {"train": "train", "training": "train", "trainset": "train", "val": "validation", "valid": "validation",
         "validation": "validation", "dev": "dev", "devset": "dev", "devel": "dev", "eval": "dev", "test": "test",
         "testing": "test", "testset": "test", "t10k": "test"}
#: Most files that are offered by name.
_LISTED = 60
#: Files from which on they are called by their folders.
MANY = 12
_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_TABLES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather", ".xlsx", ".conll",
                     ".bio", ".iob", ".iob2", ".yml", ".yaml", ".tab"})
_TEXTS = frozenset({"", ".txt", ".text", ".data", ".label"})
_FOREIGN = frozenset({".md", ".rst", ".pdf", ".html", ".htm", ".py", ".ipynb", ".sh", ".bib", ".zip", ".tar", ".docx",
                      ".xml", ".css", ".js", ".log", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".bin", ".safetensors"})
_ASIDE = re.compile(r"(?:licen[cs]e|copying|notice|readme|source|citation|credits?|authors?|changelog|version|"
                    r"requirements|metadata_info|dataset_infos?|dataset_dict|state|cc[-_ ]?(?:by|0))"
                    r"(?:[-_. ].*|\d.*)?$", re.IGNORECASE)
_CLASSES = frozenset({"pos", "neg", "neu", "positive", "negative", "neutral", "spam", "ham", "true", "false", "yes",
                      "no", "toxic", "clean", "fake", "real"})
#: Bytes of a gzip file that surely unpack to the first four: its code tables come first.
_PACKED = 2048
_WORDS = re.compile(r"[-_. ]+")
_SHARD = re.compile(r"\d{4,}|of")


@dataclass(frozen=True)
class Plan:
    """What of a bundle to read: its layout, the files of each part in order, and those left out.

    `labels` holds the class of each file where a file, or a folder of texts, is a class.
    """

    layout: Layout
    train: tuple[Entry, ...]
    eval: tuple[Entry, ...] = ()
    left: tuple[Entry, ...] = ()
    labels: dict[PurePosixPath, str] = field(default_factory=dict)

    def chosen(self, part: str) -> tuple[Entry, ...]:
        """Return the files of a part: to learn from, EVAL, ALL, those at or below a path, or a word such as "dev".

        Raises PartMissing.
        """
        if not part:
            return self.train
        every = tuple(sorted((*self.train, *self.eval, *self.left), key=lambda entry: str(entry.path)))
        if part == ALL:
            return tuple(entry for entry in every if not aside(entry))
        if part == EVAL and self.eval:
            return self.eval
        found = [entry for entry in every if f"/{part.strip('/')}/" in f"/{entry.path}/"] or self._worded(every, part)
        if not found:
            known = [str(entry.path) for entry in every[:12]]
            raise PartMissing(part, part=part, known=", ".join(known))
        return tuple(found)

    def parts(self) -> list[str]:
        """Return what a person may choose to read: files, or the parts that their names tell; none without a choice."""
        every = sorted((entry for entry in (*self.train, *self.eval, *self.left) if not aside(entry)),
                       key=lambda entry: str(entry.path))
        if self.layout == "tables" and len(every) <= _LISTED:
            found = [str(entry.path) for entry in every]
        else:
            found = list(dict.fromkeys(part for entry in every if (part := part_of(entry.path))))
        return found if len(found) > 1 else []

    def _worded(self, every: Sequence[Entry], part: str) -> list[Entry]:
        """Return the files whose names say that they hold this part, of the family that is read."""
        word, kind = PARTS.get(part.lower()), (_bare(self.train[0].path), _suffix(self.train[0]))
        found = [entry for entry in every if word and part_of(entry.path) == word]
        return [entry for entry in found if (_bare(entry.path), _suffix(entry)) == kind] or found


def plan(entries: Sequence[Entry], name: str) -> Plan:
    """Return what of these files to read; raises NothingInside."""
    useful = [entry for entry in entries if not aside(entry)]
    others = tuple(entry for entry in entries if aside(entry))
    if any(is_image(entry) for entry in useful):
        found = _images(useful)
    elif numbers := [entry for entry in useful[:200] if idx_kind(entry)]:
        found = _parted("idx", numbers, _without(useful, numbers))
    else:
        useful = [entry for entry in useful if entry.size]
        found = _documents(useful) or _classes(useful) or _tables(useful)
    if found is None or not found.train:
        raise NothingInside(name)
    return Plan(found.layout, found.train, found.eval, (*found.left, *others), found.labels)


def aside(entry: Entry) -> bool:
    """Tell whether a file is about the data and not part of it: a licence, a readme, a script."""
    suffix = _suffix(entry)
    if suffix in _IMAGES:
        return False
    beside = suffix in _TEXTS | {".json", ".yml", ".yaml"} or not _known(suffix)
    return suffix in _FOREIGN or (beside and _ASIDE.match(entry.path.name) is not None)


def is_image(entry: Entry) -> bool:
    """Tell whether a file is meant as an image, by its ending."""
    return entry.path.suffix.lower() in _IMAGES


def is_table(entry: Entry) -> bool:
    """Tell whether a file is meant as a table, by its ending."""
    return _suffix(entry) in _TABLES


def idx_kind(entry: Entry) -> Literal["images", "labels", ""]:
    """Return what a file in MNIST's IDX format holds, by its first bytes; nothing for any other file."""
    try:
        head = entry.read(_PACKED)
    except MemberBroken:
        return ""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 4)
        except zlib.error:
            return ""
    if head[:3] != b"\0\0\x08":
        return ""
    return "labels" if head[3:4] == b"\x01" else "images" if head[3:4] in (b"\x03", b"\x04") else ""


def part_of(path: PurePosixPath, *, folders: bool = True) -> str:
    """Return which part of a dataset a file holds, by the words of its name or of the folders it lies in."""
    for piece in (path.name, *(reversed(path.parts[:-1]) if folders else ())):
        found = [PARTS[word] for word in _WORDS.split(piece.lower()) if word in PARTS]
        if found:
            return found[0]
    return ""


def _known(suffix: str) -> bool:
    return suffix in _TABLES or suffix in _TEXTS or suffix in _IMAGES


def _suffix(entry: Entry) -> str:
    name = entry.path.name.lower().removesuffix(".gz")
    return PurePosixPath(name).suffix


def _images(useful: Sequence[Entry]) -> Plan:
    """Keep images and the tables that may say what is on them; images of no part go with the tables of each."""
    pictures, tables = [entry for entry in useful if is_image(entry)], [entry for entry in useful if is_table(entry)]
    rest = _without(useful, [*pictures, *tables])
    found = _parted("images", [*pictures, *tables], rest, folders_only=True)
    if tables and not any(part_of(entry.path.parent / "x") for entry in pictures):
        parts = _parted("tables", tables, rest)
        return Plan("images", (*parts.train, *pictures), (*parts.eval, *pictures) if parts.eval else (), parts.left)
    return found


def _without(entries: Sequence[Entry], taken: Iterable[Entry]) -> list[Entry]:
    paths = {entry.path for entry in taken}
    return [entry for entry in entries if entry.path not in paths]


def _parted(layout: Layout, kept: Sequence[Entry], left: Sequence[Entry], *, folders_only: bool = False,
            labels: dict[PurePosixPath, str] | None = None) -> Plan:
    """Return files by the part their names tell: what evaluates is the validation, else the test part.

    Without a part to learn from, what would evaluate is learned from, and the next one evaluates.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in kept:
        inside = entry.path.parent / "x" if folders_only and is_image(entry) else entry.path
        groups.setdefault(part_of(inside), []).append(entry)
    order = [name for name in ("train", "validation", "dev", "test") if name in groups]
    loose = groups.get("", [])
    if len(order) < 2 and (loose or len(order) == 1):
        if order and order[0] != "train" and loose and layout == "tables":
            return Plan(layout, tuple(loose), tuple(groups[order[0]]), tuple(left), labels or {})
        if loose and layout != "tables":
            return Plan(layout, tuple(kept), (), tuple(left), labels or {})
    if not order:
        return Plan(layout, tuple(loose), (), tuple(left), labels or {})
    train = groups[order[0]]
    held = groups[order[1]] if len(order) > 1 else []
    rest = [entry for name in order[2:] for entry in groups[name]] + loose
    return Plan(layout, tuple(train), tuple(held), (*left, *rest), labels or {})


def _documents(useful: Sequence[Entry]) -> Plan | None:
    """Find texts sorted into folders, one folder a class and one file a text."""
    texts = [entry for entry in useful if (_suffix(entry) in _TEXTS or _suffix(entry)[1:].isdigit()) and entry.label
             and not part_of(entry.path, folders=False)]
    classes: dict[str, int] = {}
    for entry in texts:
        classes[entry.label] = classes.get(entry.label, 0) + 1
    if len(classes) < 2 or min(classes.values()) < 2 or len(texts) < 0.9 * len(useful):
        return None
    return _parted("documents", texts, _without(useful, texts), labels={entry.path: entry.label for entry in texts})


def _classes(useful: Sequence[Entry]) -> Plan | None:
    """Find one file a class: names equal but for their unusual endings, or names that are classes."""
    stems, endings = {entry.path.stem for entry in useful}, {_suffix(entry) for entry in useful}
    if len(useful) < 2 or part_of(useful[0].path, folders=False):
        return None
    if len(stems) == 1 and len(endings) == len(useful) and not any(_known(ending) for ending in endings):
        labels = {entry.path: entry.path.suffix[1:] for entry in useful}
    elif all((_WORDS.split(entry.path.stem.lower())[-1] in _CLASSES) for entry in useful) and endings <= _TEXTS \
            and len(stems) == len(useful):
        labels = {entry.path: entry.path.stem for entry in useful}
    else:
        return None
    return Plan("classes", tuple(useful), labels=labels)


def _tables(useful: Sequence[Entry]) -> Plan | None:
    """Return the best family of files: those of one kind and name, but for the part each holds."""
    families: dict[tuple[str, str], list[Entry]] = {}
    for entry in useful:
        families.setdefault((_bare(entry.path) if part_of(entry.path) else "*", _suffix(entry)), []).append(entry)
    if not any(_part(entry, "train") for entry in useful):
        families = {}
        for entry in useful:
            families.setdefault(("*", _suffix(entry)), []).append(entry)
    if not families:
        return None
    best = max(families.values(), key=_merit)
    return _parted("tables", best, _without(useful, best))


def _merit(family: Sequence[Entry]) -> tuple[bool, int, int]:
    """Return how likely a family is the one meant: it has a part to learn from, is of a known kind, is large."""
    suffix = _suffix(family[0])
    kind = 2 if suffix in _TABLES else 1 if suffix in _TEXTS else 0
    return any(_part(entry, "train") for entry in family), kind, sum(entry.size for entry in family)


def _part(entry: Entry, part: str) -> bool:
    return part_of(entry.path) == part


def _bare(path: PurePosixPath) -> str:
    """Return a file's name without the words that tell its part or its place among several."""
    words = _WORDS.split(PurePosixPath(path.name.lower().removesuffix(".gz")).stem)
    return " ".join(word for word in words if word not in PARTS and not _SHARD.fullmatch(word))


def called(entries: Sequence[Entry]) -> str:
    """Return what a person calls these files: the folder that makes them a part of the data, or their names."""
    if all(is_image(entry) or len(entries) > MANY for entry in entries):
        folders = dict.fromkeys(piece for entry in entries for piece in entry.path.parts[:-1]
                                if any(word in PARTS for word in _WORDS.split(piece.lower())))
        if folders:
            return ", ".join(f"'{folder}'" for folder in list(folders)[:6])
    return listed(entries, 3)


def listed(entries: Iterable[Entry], most: int = 6) -> str:
    """Return the names of files as a person reads them."""
    names = [f"'{entry.path}'" for entry in entries]
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
