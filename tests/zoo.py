"""All broken data files, each with the kind of the error or finding it must be met with.

`python tests/zoo.py DIR` writes them all, to try them by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

import zoo_answers
import zoo_archives
import zoo_chat
import zoo_images
import zoo_labels
import zoo_tables
import zoo_tags
import zoo_text
from beast import Beast

BEASTS: list[Beast] = [beast for part in (zoo_text, zoo_tables, zoo_archives, zoo_labels, zoo_chat, zoo_tags,
                                          zoo_answers, zoo_images) for beast in part.BEASTS]


def main(folder: Path) -> None:
    """Write every broken file into `folder`, with the files to evaluate on beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for beast in BEASTS:
        beast.write(folder / beast.name)
        if beast.eval is not None:
            beast.eval(folder / f"eval_{beast.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
