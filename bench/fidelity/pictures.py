"""Images sorted by a frozen vision transformer: prompts in every block, in the first one, or a head alone."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.fidelity.comparison import Claim, Comparison, Effort, Row, Source

#: Height and width that images are brought to: 8 × 8 patches, a quarter of the usual and four times as fast.
PIXELS = 112
Tables = tuple[list[Row], list[Row], list[Row]]


def _ants_bees(folder: Path) -> Tables:
    known, test = ([{"image": {"bytes": path.read_bytes(), "path": path.name}, "label": path.parent.name}
                    for path in sorted((folder / part).glob("*/*.jp*g"))] for part in ("train", "val"))
    random.Random(0).shuffle(known)
    return known[60:], known[:60], test


def _mnist(folder: Path) -> Tables:
    """Cut the ten thousand digits in three; the files begin with 16 and 8 bytes about themselves."""
    import numpy as np
    from PIL import Image

    raw, marks = (gzip.decompress((folder / f"t10k-{name}-ubyte.gz").read_bytes())
                  for name in ("images-idx3", "labels-idx1"))
    rows: list[Row] = []
    for number, digit in enumerate(np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)[:3000]):
        file = io.BytesIO()
        Image.fromarray(digit).save(file, "PNG")
        rows.append({"image": {"bytes": file.getvalue(), "path": f"{number}.png"}, "label": str(marks[8 + number])})
    return rows[:1000], rows[1000:2000], rows[2000:]


def write_images(rows: Sequence[Row], path: Path) -> None:
    """Write images and labels as a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from engine.data import image

    columns = {"image": pa.array([row["image"] for row in rows], image.TYPE),
               "label": pa.array([row["label"] for row in rows])}
    pq.write_table(pa.table(columns), path)


def smaller(model: Path, target: Path) -> Path:
    """Copy a model's folder to `target`, there to take images of PIXELS × PIXELS, cut out of a frame around them."""
    shutil.copytree(model, target)
    file = target / "preprocessor_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings |= {"size": {"shortest_edge": PIXELS * 8 // 7}, "crop_size": {"height": PIXELS, "width": PIXELS}}
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return target


ROLES = {"image": "image", "label": "label"}
#: Why prompts stay behind a head.
FEW = {("dinov2-small", "ants_bees"): "184 photographs are learned from, and the more numbers are trained beside "
                                      "the head, the further behind it they fall. With 200 digits it is the other way "
                                      "round."}

PICTURES = Comparison(
    name="pictures", title="Visual prompts", task="image_classification",
    about="A small vision transformer, photographs of insects and handwritten digits, at 112 × 112 pixels. Ten prompts "
          "in every block (deep) or in the first alone (shallow).",
    models=("dinov2-small",),
    sources=(Source("ants_bees", "accuracy", _ants_bees, ROLES), Source("mnist_t10k", "accuracy", _mnist, ROLES)),
    methods={"head": {"name": "head"}, "vpt deep": {"name": "vpt"}, "vpt shallow": {"name": "vpt", "deep": False}},
    effort=Effort(train=200, tune=200, test=500, epochs=20, batch=8),
    claims=(Claim("vpt deep", "vpt shallow", "VPT, table 1", reasons=FEW),
            Claim("vpt shallow", "head", "VPT, table 1", reasons=FEW),
            Claim("vpt deep", "head", "VPT, table 1", reasons=FEW)),
    ending="parquet", write=write_images, fit=smaller)
