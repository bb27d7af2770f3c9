"""A question as something to run: curl, Python, the command line, and plain peft for an adapter alone."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from db.blobs import Blobs
from db.tables import Adapter
from engine import adapter as adapters_on_disk
from engine import tasks
from engine.errors import StudioError
from engine.export import package, readme
from studio import cards


@dataclass(frozen=True)
class Question:
    """What is on the screen: whom, what, and how. A value of `files` is the name of the file for a role.

    `adapters` holds ids, None for the base itself; `conversations` are lists of messages, each asked of the adapter at
    its place, or one that is asked of all.
    """

    task: str
    model: str
    adapters: Sequence[str | None]
    row: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    conversations: Sequence[Sequence[Mapping[str, str]]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def documents(self) -> list[dict[str, Any]]:
        """Return the bodies to send to POST /api/v1/predictions; files are left out of rows."""
        named = {} if any(self.adapters) else {"model": self.model, "task": self.task}
        chosen = {"options": dict(self.options)} if self.options else {}
        if not self.conversations:
            return [{"adapters": list(self.adapters), **named, "rows": [dict(self.row)], **chosen}]
        alike = all(said == self.conversations[0] for said in self.conversations)
        whom = [list(self.adapters)] if alike else [[one] for one in self.adapters]
        base = {"model": self.model, "task": self.task}
        return [{"adapters": ids, **({} if any(ids) else base), "messages": [dict(turn) for turn in said], **chosen}
                for ids, said in zip(whom, self.conversations, strict=False)]


def shown(question: Question, url: str, adapter: Adapter | None, *, signed: bool = False) -> str:
    """Return the part of a page that holds every snippet; `signed` where callers need a token."""
    parts = [cards.code(curl(question, url, signed=signed), "curl"),
             cards.code(python(question, url, signed=signed), "Python, standard library only"),
             cards.code(command(question), "command line")]
    alone = peft(question, adapter) if adapter is not None else ""
    if alone:
        parts.append(cards.code(alone, f"plain peft, {adapter.name} alone" if adapter else ""))
    return cards.more("Do the same from a script", *parts)


def curl(question: Question, url: str, *, signed: bool = False) -> str:
    """Return the commands that ask through the API."""
    token = ' -H "Authorization: Bearer $STUDIO_TOKEN"' if signed else ""
    lines = []
    for document in question.documents():
        text = json.dumps(document, ensure_ascii=False)
        if question.files:
            # A name in quotes of its own: curl reads ; and , in it as its own marks otherwise.
            files = "".join(f" \\\n  -F {shlex.quote(f'{role}=@{curled(name)}')}"
                            for role, name in question.files.items())
            lines.append(f"curl -sS {shlex.quote(f'{url}/api/v1/predictions/files')}{token} \\\n"
                         f"  --form-string {shlex.quote(f'question={text}')}{files}")
        else:
            lines.append(f"curl -sS {shlex.quote(f'{url}/api/v1/predictions')}{token} \\\n"
                         f"  -H 'Content-Type: application/json' \\\n  --data-raw {shlex.quote(text)}")
    return "\n\n".join(lines)


def curled(name: str) -> str:
    """Return the name of a file as curl takes it: in quotes of its own."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def python(question: Question, url: str, *, signed: bool = False) -> str:
    """Return a script that asks through the API with nothing but Python."""
    imports = ["base64"] if question.files else []
    imports += ["json", *(["os"] if signed else []), "urllib.request"]
    headers = ['"Content-Type": "application/json"']
    headers += ['"Authorization": f"Bearer {os.environ[\'STUDIO_TOKEN\']}"'] if signed else []
    documents = question.documents()
    lines = ["import " + ", ".join(imports), "",
             f"questions = {pprint.pformat(documents, width=100, sort_dicts=False)}"]
    for role, name in question.files.items():
        lines += [f"with open({name!r}, \"rb\") as file:",
                  f"    questions[0][\"rows\"][0][{role!r}] = base64.b64encode(file.read()).decode()"]
    lines += ["for question in questions:",
              f"    request = urllib.request.Request({f'{url}/api/v1/predictions'!r}, json.dumps(question).encode(),",
              f"                                     {{{', '.join(headers)}}})",
              "    with urllib.request.urlopen(request) as response:",
              '        for answer in json.load(response)["result"]["answers"]:',
              "            print(json.dumps(answer, ensure_ascii=False, indent=1))"]
    return "\n".join(lines)


def command(question: Question) -> str:
    """Return the commands that ask from the command line, on the machine of the studio."""
    made = []
    for document in question.documents():
        words = ["peft-studio", "predict"]
        for one in document["adapters"] if any(document["adapters"]) else []:
            words += ["--adapter", one or "base"]
        for name in ("model", "task"):
            words += [f"--{name}", document[name]] if name in document else []
        for row in document.get("rows", []):
            words += [word for role, text in row.items() for word in ("--row", f"{role}={text}")]
        for turn in document.get("messages", []):
            words += ["--message", f"{turn['role']}={turn['content']}"]
        words += [word for name in question.files.values() for word in ("--image", name)]
        for name, value in question.options.items():
            words.append(f"--{name.replace('_', '-')}={_word(value)}")
        made.append(" ".join(shlex.quote(word) for word in words))
    return "\n".join(made)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def peft(question: Question, adapter: Adapter) -> str:
    """Return the lines that ask one adapter with peft alone, in the folder of its unpacked download."""
    try:
        folder = Blobs().local(adapter.key)
        facts = package.describe(adapters_on_disk.read(folder), {"name": adapter.name, "model_id": adapter.model,
                                                                 "method": adapter.method})
        said = {role.name: question.files.get(role.name) or question.row.get(role.name, "")
                for role in tasks.get(question.task).asks}
        turns = question.conversations[-1] if question.conversations else ()
        return "\n".join([*readme.load_lines(facts), *readme.ask_lines(facts, said, list(turns), question.options)])
    except (StudioError, OSError, ValueError):
        # The adapter's files are not here, or a setting is half written.
        return ""
