"""Images as data files: folders, zip archives and parquet; everything broken is named."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pictures
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engine import tasks
from engine.data import columns, held, image, read, stats
from engine.data.errors import BrokenImage, ImageTooLarge
from engine.errors import DataError, StudioError


def labels(table: pa.Table) -> list[str]:
    return table.column("label").to_pylist()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises this many pixels and that holds none."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def good(count: int = 3) -> dict[str, bytes]:
    return {f"{label}/{i}.png": pictures.data(pictures.noise(label, i)) for label in pictures.CLASSES
            for i in range(count)}


# -- one image -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_kind_of_image_is_known_by_its_content(kind: str) -> None:
    data = pictures.data(pictures.noise("reddish", 0), kind)
    assert image.known(data[:16])
    assert image.decode(data, "x").size == (40, 32)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)) if mode == "I;16" else \
        Image.new("RGB", (8, 8), (200, 200, 200)).convert(mode)
    made = image.decode(pictures.data(grey, "TIFF" if mode == "CMYK" else "PNG"), "x")
    assert made.mode == "RGB"
    assert 150 <= np.asarray(made).mean() <= 256


def test_what_is_transparent_lies_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert image.decode(pictures.data(clear), "x").getpixel((0, 0)) == (255, 255, 255)


def test_a_photograph_is_turned_as_its_camera_held_it() -> None:
    picture, out = pictures.noise("reddish", 0), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(out, "JPEG", exif=exif)
    assert image.decode(out.getvalue(), "x").size == (32, 40)


@pytest.mark.parametrize("data", [
    b"", b"\xff\xd8\xff\xe0" + bytes(50), pictures.data(pictures.noise("reddish", 0), "JPEG")[:-400],
    pictures.data(pictures.noise("reddish", 0))[:200], b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>"])
def test_a_broken_image_is_named(data: bytes) -> None:
    for work in (image.check, image.decode):
        with pytest.raises(BrokenImage) as caught:
            work(data, "ants/broken one.jpg")
        assert "ants/broken one.jpg" in caught.value.what


@pytest.mark.parametrize("size", [(9_000, 9_000), (60_000, 60_000)])
def test_a_few_bytes_that_promise_a_giant_are_not_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooLarge) as caught:
        image.check(png_of(*size), "bomb.png")
    assert "bomb.png" in caught.value.what


# -- folders and archives ------------------------------------------------------------------------------------------


def test_a_folder_and_an_archive_of_it_are_the_same_rows(tmp_path: Path) -> None:
    archive = pictures.archive(tmp_path)
    one, two = read.read(tmp_path / "pictures"), read.read(archive)
    assert one.num_rows == two.num_rows == 24
    assert labels(one) == labels(two) == ["bluish"] * 12 + ["reddish"] * 12
    assert [cell["bytes"] for cell in one.column("image").to_pylist()] == \
        [cell["bytes"] for cell in two.column("image").to_pylist()]
    assert two.column("image")[0].as_py()["path"] == "pictures/bluish/bluish 0.jpg"


def test_a_preview_shows_names_and_sizes_instead_of_bytes(tmp_path: Path) -> None:
    head = read.preview(pictures.archive(tmp_path), 2)
    first = head.rows[0]["image"]
    assert set(first) == {"path", "bytes"} and isinstance(first["bytes"], int)
    assert len(head.rows) == 2
    assert columns.guess(head).columns == {"image": "image", "label": "label"}
    assert head.model_dump_json()


def test_an_archive_becomes_parquet_that_reads_the_same(tmp_path: Path) -> None:
    archive, stored = pictures.archive(tmp_path), tmp_path / "rows.parquet"
    made = read.ingest(archive, stored)
    assert (made.rows, made.columns) == (24, ["image", "label"])
    assert read.read(stored).equals(read.read(archive))
    assert columns.guess(read.read(stored)).task == "image_classification"


@pytest.mark.parametrize("bare", [True, False])
def test_parquet_with_images_is_read_as_the_datasets_library_writes_it(bare: bool, tmp_path: Path) -> None:
    data = [pictures.data(pictures.noise(label, i)) for i in range(3) for label in pictures.CLASSES]
    kind = pa.binary() if bare else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = data if bare else [{"bytes": each, "path": None} for each in data]
    pq.write_table(pa.table({"img": pa.array(cells, kind), "label": [0, 1] * 3, "hash": pa.array([b"\1\2"] * 6)}),
                   tmp_path / "a.parquet")
    table = read.read(tmp_path / "a.parquet")
    assert table.column_names == ["img", "label"]
    assert table.column("img")[1].as_py() == {"bytes": data[1], "path": "row 2"}
    guess = columns.guess(table)
    assert (guess.task, guess.columns) == ("image_classification", {"image": "img", "label": "label"})


def test_broken_images_are_left_out_by_name_and_forbid_nothing_else(tmp_path: Path) -> None:
    members = good() | {"reddish/cut.jpg": pictures.data(pictures.noise("reddish", 9), "JPEG")[:-300],
                        "bluish/giant.png": png_of(20_000, 20_000), "lonely.png": good()["reddish/0.png"]}
    made = read.ingest(packed(tmp_path / "a.zip", members), tmp_path / "a.parquet")
    assert made.rows == 6
    found = {item.kind: item for item in made.findings}
    assert set(found) == {"image_broken", "image_too_large", "image_without_class"}
    assert "reddish/cut.jpg" in found["image_broken"].what
    assert "bluish/giant.png" in found["image_too_large"].what


def test_parts_of_a_dataset_are_told_and_other_files_left_out(tmp_path: Path) -> None:
    members = {f"{part}/{name}": data for part in ("train", "val") for name, data in good().items()}
    made = read.ingest(packed(tmp_path / "a.zip", members | {"SOURCE.txt": b"x"}), tmp_path / "a.parquet")
    told = {item.kind: item for item in made.findings}
    assert set(told) == {"parts_found", "other_files"} and "'val'" in told["parts_found"].what
    assert made.rows == 6 and set(labels(read.read(tmp_path / "a.parquet"))) == set(pictures.CLASSES)
    other = held.evaluation(tmp_path / "a.zip", tmp_path)
    assert other is not None and read.read(other.path).num_rows == 6
    assert read.read(tmp_path / "a.zip", read.sniff(tmp_path / "a.zip", part="all")).num_rows == 12


@pytest.mark.parametrize("name", ["../../evil/x.png", "/etc/evil/x.png", "a/../../x.png", "C:\\evil\\x.png"])
def test_an_archive_that_reaches_outside_itself_is_refused(name: str, tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", good() | {name: good()["reddish/0.png"]})
    with pytest.raises(StudioError) as caught:
        read.read(path)
    assert caught.value.kind == "archive_unsafe"


def test_a_damaged_member_is_a_broken_image_and_a_cut_archive_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", good())
    whole = bytearray(path.read_bytes())
    whole[60:90] = bytes(30)
    path.write_bytes(whole)
    assert read.ingest(path, tmp_path / "a.parquet").findings[0].kind == "image_broken"
    path.write_bytes(bytes(whole[:-100]))
    with pytest.raises(DataError):
        read.read(path)


def test_an_archive_larger_than_allowed_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(StudioError) as caught:
        read.read(packed(tmp_path / "a.zip", good()), largest=1000)
    assert caught.value.kind == "expanded_too_large"


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(good()["reddish/0.png"])
    with pytest.raises(StudioError) as caught:
        read.read(tmp_path / "flat")
    assert caught.value.kind == "no_images"


@pytest.mark.parametrize("named", ["{label}/{i}.png", "{i}.png", "pictures/{label}/{i}", "./{label}/{i}.png"])
def test_a_table_beside_images_says_what_is_on_them(named: str, tmp_path: Path) -> None:
    folder = "pictures/" if not named.startswith("pictures") else ""
    members = {f"pictures/{label}/{number}.png": pictures.data(pictures.noise(label, number))
               for number, label in enumerate([*pictures.CLASSES] * 2)}
    rows = [(named.format(label=label, i=number), f"kind {number % 2}", number)
            for number, label in enumerate([*pictures.CLASSES] * 2)]
    table = "\n".join(",".join(map(str, row)) for row in [("file_name", "label", "size"), *rows, ("gone.png", "x", 1)])
    members |= {f"{folder}metadata.csv": table.encode(), "pictures/extra/9.png": members["pictures/bluish/0.png"]}
    made = read.ingest(packed(tmp_path / "a.zip", members), tmp_path / "a.parquet")
    stored = read.read(tmp_path / "a.parquet")
    assert stored.column_names == ["image", "label", "size"]
    assert labels(stored) == ["kind 0", "kind 1"] * 2
    assert columns.guess(stored).columns == {"image": "image", "label": "label"}
    told = {item.kind: item for item in made.findings}
    assert told["image_not_there"].rows == [5] and "gone.png" in told["image_not_there"].what
    assert told["images_unlisted"].count == 1


def idx(*sizes: int, data: bytes = b"") -> bytes:
    """An IDX file of bytes of these sizes."""
    return bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes) + data


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_images_and_their_labels_are_rows(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    path = packed(tmp_path / "a.zip", {"t10k-images-idx3-ubyte.gz": pack(idx(5, 4, 3, data=pixels.tobytes())),
                                       "t10k-labels-idx1-ubyte.gz": pack(idx(5, data=bytes([3, 1, 4, 1, 5])))})
    table = read.read(path)
    assert labels(table) == ["3", "1", "4", "1", "5"]
    first = image.decode(table["image"][1].as_py()["bytes"], "x")
    assert np.array_equal(np.asarray(first)[..., 0], pixels[1])
    assert columns.guess(read.preview(path)).task == "image_classification"


@pytest.mark.parametrize(("images", "marks", "kind"), [
    (idx(5, 4, 3, data=bytes(60)), None, "idx_unpaired"), (idx(5, 4, 3, data=bytes(40)), idx(5, data=bytes(5)),
                                                          "idx_broken"),
    (idx(5, 4, 3, data=bytes(60)), idx(4, data=bytes(4)), "idx_broken"), (idx(5, 0, 3), idx(5, data=bytes(5)),
                                                                         "idx_broken"),
    (idx(5, 60_000, 60_000), idx(5, data=bytes(5)), "image_too_large"),
    (idx(3_000_000_000, 28, 28), idx(5, data=bytes(5)), "expanded_too_large"),
    (gzip.compress(idx(5, 4, 3, data=bytes(60)), mtime=0)[:18], idx(5, data=bytes(5)), "idx_broken")])
def test_broken_idx_files_are_refused_by_name(images: bytes, marks: bytes | None, kind: str, tmp_path: Path) -> None:
    members = {"images": images} | ({"labels": marks} if marks is not None else {})
    with pytest.raises(StudioError) as caught:
        read.read(packed(tmp_path / "a.zip", members))
    assert caught.value.kind == kind and caught.value.where


# -- checks and counts ---------------------------------------------------------------------------------------------


def test_statistics_count_classes_and_images_that_stand_twice(tmp_path: Path) -> None:
    members = good() | {"reddish/again.png": good()["reddish/0.png"], "bluish/odd.png": good()["reddish/1.png"]}
    table = read.read(packed(tmp_path / "a.zip", members))
    task = tasks.get("image_classification")(name="image_classification")
    found = stats.summarise(table, task, {"image": "image", "label": "label"}, eval_table=table)
    assert found.labels == {"bluish": 4, "reddish": 4}
    assert (found.duplicates.count, found.duplicates.conflicting) == (2, 1)
    assert {item["text"] for item in found.duplicates.examples} == {"reddish/again.png", "reddish/1.png"}
    assert found.overlap is not None and found.overlap.count == 8
    assert found.characters is None
    assert found.model_dump_json()


def test_a_check_names_missing_images_unseen_labels_and_columns_without_images(tmp_path: Path) -> None:
    table = read.read(packed(tmp_path / "a.zip", good(12)))
    task = tasks.get("image_classification")(name="image_classification")
    roles = {"image": "image", "label": "label"}
    assert not task.check(table, roles, table)
    empty = table.set_column(0, "image", pa.array([None] * 2 + table.column("image").to_pylist()[2:], image.TYPE))
    assert [item.kind for item in task.check(empty, roles)] == ["image_missing"]
    swapped = table.append_column("text", pa.array(["a"] * 24))
    assert "not_images" in [item.kind for item in task.check(swapped, {"image": "text", "label": "label"})]
    other = table.set_column(1, "label", pa.array(["green"] * 24))
    assert [item.kind for item in task.check(table, roles, other)] == ["label_unseen"]
    assert task.label_names(table, roles) == ["bluish", "reddish"]
