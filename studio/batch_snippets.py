"""Rows to be predicted as something to run: curl, Python, the command line."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from studio import cards
from studio.snippets import curled

#: What sed takes the id from, and how the answer begins when nothing more happens.
ID = r's/^{"id":"\([^"]*\)".*/\1/p'
ENDED = r'^{"id":"[^"]*","kind":"predict","state":"\(ready\|failed\|cancelled\)"'

_CALL = """def call(path, data=None, kind="application/json"):
    request = urllib.request.Request(url + path, data, {headers})
    with urllib.request.urlopen(request) as response:
        return response.read()

"""
_FORM = """edge = uuid.uuid4().hex
parts = [f'--{edge}\\r\\nContent-Disposition: form-data; name="{name}"\\r\\n\\r\\n{value}\\r\\n'
         for name, value in fields.items()]
parts.append(f'--{edge}\\r\\nContent-Disposition: form-data; name="file"; filename="{quoted}"\\r\\n\\r\\n')
with open(file, "rb") as rows:
    form = "".join(parts).encode() + rows.read() + f"\\r\\n--{edge}--\\r\\n".encode()
made = json.loads(call("/api/v1/batches", form, f"multipart/form-data; boundary={edge}"))
"""
_WAIT = """while made["state"] in ("queued", "running"):
    time.sleep(1)
    made = json.loads(call(f"/api/v1/batches/{made['id']}"))
if made["state"] != "ready":
    raise SystemExit(made["error"])
"""


@dataclass(frozen=True)
class Wanted:
    """What is on the screen: whom, which rows (the name of a `file`, or the id of a `dataset`), and how.

    A base model itself is asked where `adapter` is None. `title` is what a dataset is called.
    """

    adapter: str | None
    model: str
    task: str
    file: str = ""
    dataset: str = ""
    title: str = ""
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    format: str = "csv"
    prepare: bool = True

    def document(self) -> dict[str, Any]:
        """Return the body to send to POST /api/v1/batches; a file is sent beside it."""
        who = {"adapter": self.adapter} if self.adapter else {"model": self.model, "task": self.task}
        rows = {} if self.file else {"dataset": self.dataset}
        chosen = {name: dict(value) for name, value in (("columns", self.columns), ("options", self.options)) if value}
        return who | rows | chosen | {"format": self.format} | ({} if self.prepare else {"prepare": False})

    def fields(self) -> dict[str, str]:
        """Return the body as the fields of a form."""
        return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                for name, value in self.document().items()}

    @property
    def out(self) -> str:
        """What the file that comes back is called."""
        return f"{PurePath(self.file).stem if self.file else self.title or 'rows'} predictions.{self.format}"


def shown(wanted: Wanted, url: str, *, signed: bool = False) -> str:
    """Return the part of a page that holds every snippet; `signed` where callers need a token."""
    return cards.more("Do the same from a script", cards.code(curl(wanted, url, signed=signed), "curl"),
                      cards.code(python(wanted, url, signed=signed), "Python, standard library only"),
                      cards.code(command(wanted), "command line"))


def curl(wanted: Wanted, url: str, *, signed: bool = False) -> str:
    """Return the commands that send the rows, wait, and fetch the file that comes back."""
    token = ' -H "Authorization: Bearer $STUDIO_TOKEN"' if signed else ""
    if wanted.file:
        words = "".join(f" \\\n  --form-string {shlex.quote(f'{name}={value}')}"
                        for name, value in wanted.fields().items())
        words += f" \\\n  -F {shlex.quote(f'file=@{curled(wanted.file)}')}"
    else:
        text = json.dumps(wanted.document(), ensure_ascii=False)
        words = f" \\\n  -H 'Content-Type: application/json' \\\n  --data-raw {shlex.quote(text)}"
    here = shlex.quote(f"{url}/api/v1/batches")
    return "\n".join([
        f"batch=$(curl -sS {here}{token}{words} \\\n  | sed -n {shlex.quote(ID)})",
        # What was refused has no id, and is not waited for.
        f"while [ -n \"$batch\" ] && ! curl -sS {here}/$batch{token} \\\n  | grep -q {shlex.quote(ENDED)}; "
        "do sleep 1; done",
        f"curl -sSf {shlex.quote(f'{url}/download/batches')}/$batch{token} -o {shlex.quote(wanted.out)}"])


def python(wanted: Wanted, url: str, *, signed: bool = False) -> str:
    """Return a script that does the same with nothing but Python."""
    imports = ["json", *(["os"] if signed else []), "time", "urllib.request", *(["uuid"] if wanted.file else [])]
    token = ', "Authorization": f"Bearer {os.environ[\'STUDIO_TOKEN\']}"' if signed else ""
    lines = [f"import {', '.join(imports)}\n", f"url = {url!r}"]
    if wanted.file:
        quoted = wanted.file.replace("\\", "%5C").replace('"', "%22")
        lines += [f"file, quoted = {wanted.file!r}, {quoted!r}", f"fields = {_pretty(wanted.fields())}\n\n"]
    else:
        lines += [f"wanted = {_pretty(wanted.document())}\n\n"]
    lines += [_CALL.replace("{headers}", f'{{"Content-Type": kind{token}}}')]
    lines += [_FORM.rstrip() if wanted.file else
              'made = json.loads(call("/api/v1/batches", json.dumps(wanted).encode()))']
    return "\n".join([*lines, _WAIT + f'with open({wanted.out!r}, "wb") as out:\n'
                      '    out.write(call(made["download"]))'])


def _pretty(value: Any) -> str:
    return pprint.pformat(value, width=100, sort_dicts=False)


def command(wanted: Wanted) -> str:
    """Return the command for the machine of the studio."""
    words = ["peft-studio", "predict-file", wanted.file or wanted.dataset]
    words += ["--adapter", wanted.adapter] if wanted.adapter else ["--model", wanted.model, "--task", wanted.task]
    words += [word for role, column in wanted.columns.items() for word in ("--column", f"{role}={column}")]
    words += ["--options", json.dumps(dict(wanted.options), ensure_ascii=False)] if wanted.options else []
    words += [*([] if wanted.prepare else ["--as-is"]), "--format", wanted.format, "--out", wanted.out]
    # A file whose name looks like an option is none.
    words[2] = f"./{words[2]}" if words[2].startswith("-") else words[2]
    return " ".join(shlex.quote(word) for word in words)
