"""`python -m engine.data.look FILE.parquet`: search and sort a large table in a process of its own.

Standard input is a JSON object: `search`, `sort`, `descending`. What is found is kept beside the file, for all to use.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

#: One at a time for each process that asks, so that the machine's memory stays bounded.
_ASKING = threading.Lock()


def through(parquet: Path, search: str, sort: str | None, descending: bool) -> None:
    """Have another process search and sort a table; when it fails, whoever asks for a page next does it itself."""
    import subprocess

    asked = json.dumps({"search": search, "sort": sort, "descending": descending})
    with _ASKING:
        subprocess.run([sys.executable, "-m", "engine.data.look", str(parquet)], input=asked.encode(), check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> int:
    """Do what standard input asks for."""
    from engine.data.paging import Rows

    asked = json.loads(sys.stdin.read())
    Rows(Path(sys.argv[1])).prepare(asked["search"], asked["sort"], asked["descending"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
