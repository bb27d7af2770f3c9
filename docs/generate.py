"""Write the method and task pages and the methods' pictures: `python -m docs.generate`.

With `--check` it only says whether they are current.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from docs import pictures
from docs.drawings import DRAWINGS
from engine import methods, preparation, tasks
from engine.knobs import spelled
from engine.recipe import WAYS, Recipe
from engine.spec import Training
from studio.snippets import Question, command, curl

FOLDER = Path(__file__).parent
START = {"methods": "methods", "tasks": "tasks"}


def settings_table(kind: type[BaseModel]) -> str:
    """Return a Markdown table of the settings of a method, a task or the training part."""
    rows = ["| Setting | Default | Meaning |", "|---|---|---|"]
    for name, field in kind.model_fields.items():
        if name == "name":
            continue
        extra: Any = field.json_schema_extra or {}
        unit = f" ({extra['unit']})" if extra.get("unit") else ""
        bounds = _bounds(field.metadata)
        said = f"{field.description or ''}{unit}", bounds, spelled(field, "`")
        text = " ".join(part for part in said if part).replace("|", "\\|")
        usual = "needed" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        rows.append(f"| `{name}` | {usual} | {text} |")
    return "\n".join(rows) if len(rows) > 2 else "This one has no settings of its own."


def method_page(name: str, kind: type[methods.Method]) -> str:
    """Return the page of one method."""
    card = kind.card
    source = f"[{card.paper}]({card.url})" if card.url else card.paper
    formula = f"\n```text\n{card.formula}\n```\n" if card.formula else ""
    usual = f"**Typical settings:** {card.settings}\n\n" if card.settings else ""
    merge = ("The result can be merged into the base model." if card.mergeable
             else "The result cannot be merged into the base model.")
    picture = f"\n![What {card.title} learns](../../studio/static/methods/{name}.svg)\n" if name in DRAWINGS else ""
    return (f"# {card.title}\n\n{card.summary}\n{picture}{formula}\n"
            f"- Name in a RunSpec: `{name}`\n- Family: {card.family}\n"
            f"- Source: {source}\n- {merge}\n\n**Use it when:** {card.use_when}\n\n"
            f"**Look elsewhere when:** {card.avoid_when}\n\n{usual}## Settings\n\n{settings_table(kind)}\n")


def task_page(name: str, kind: type[tasks.Task]) -> str:
    """Return the page of one task."""
    roles = "\n".join(f"| `{role.name}` | {role.title} | {role.help} |" for role in kind.roles)
    needs = "; or ".join(" + ".join(f"`{role}`" for role in sorted(group)) for group in kind.needs)
    head = (f"# {kind.card.title}\n\n{kind.card.summary}\n\n- Name in a RunSpec: `{name}`\n- Needs: {needs}\n"
            f"- Models: {', '.join(kind.families)}\n")
    return (f"{head}\n## Columns\n\n| Role | Title | Meaning |\n|---|---|---|\n{roles}\n\n"
            f"## Settings\n\nKeys of `data.options`.\n\n{settings_table(kind)}\n{_asking(name, kind)}")


def _asking(name: str, kind: type[tasks.Task]) -> str:
    """Return how a model of a task is asked: what is filled in, what can be chosen, and the lines that do it."""
    if not kind.playground:
        return ""
    if kind.playground == "chat":
        asked = Question(name, "", ["ad_…"], conversations=[[{"role": "user", "content": "…"}]])
        what = "a list of messages, the last one the user's"
    else:
        files = {role.name: f"{role.name}.png" for role in kind.asks if role.kind == "image"}
        row = {role.name: "…" for role in kind.asks if role.name in kind.lacks(()) and role.name not in files}
        asked = Question(name, "", ["ad_…"], row=row, files=files)
        what = "rows of " + ", ".join(f"`{role.name}`" for role in kind.asks)
    chosen = f"\n\nOptions:\n\n{settings_table(kind.asking)}" if kind.asking.model_fields else ""
    return (f"\n## Ask a model\n\nIn the playground, over REST or on the command line, with {what}.\n\n"
            f"```sh\n{command(asked)}\n\n{curl(asked, 'http://127.0.0.1:7860')}\n```{chosen}\n")


def combining_page() -> str:
    """Return the page on combining adapters."""
    ways = "\n".join(f"| `{name}` | {way.title} | {way.summary} | {'yes' if way.equal_ranks else 'no'} | {way.paper} |"
                     for name, way in WAYS.items())
    return ("# Combine adapters\n\nAdapters of one base model and one task become a new adapter, without training: on "
            "the page Combine, with `peft-studio adapters compose`, or `POST /api/v1/adapters/compose`. It can be "
            "measured against its parts and their mean on the rows of a dataset.\n\n"
            f"| Way | Title | What it does | Equal ranks | Source |\n|---|---|---|---|---|\n{ways}\n\n"
            f"## Settings\n\n{settings_table(Recipe)}\n")


def preparation_page() -> str:
    """Return the page on the steps of preparation."""
    steps = "\n\n".join(
        f"## {kind.card.title}\n\n{kind.card.summary} {_purpose(kind)}\n\n- Name in a RunSpec: `{name}`\n\n"
        f"{settings_table(kind)}" for name, kind in preparation.every().items())
    return f"# Preparation\n\n{PREPARATION}\n{steps}\n"


def _purpose(kind: type[preparation.Step]) -> str:
    """Return which rows a step is for."""
    if kind.splits or kind.repeats:
        return ""
    return "Rows to evaluate on are changed alike." if kind.evaluation else \
        "Rows to evaluate on stay as they are."


PREPARATION = """\
Steps are taken in their order before the rows are checked, split and learned. They are kept with a dataset (its page,
tab Prepare; `peft-studio datasets prepare`; `PUT /api/v1/datasets/{id}/steps`), and every run takes those of its
dataset along in its RunSpec, as `data.steps`:

```json
{"data": {"train": "train.csv", "steps": [
  {"name": "rename", "names": {"sentence": "text"}},
  {"name": "filter", "where": "length(text) > 20 and label != \\"other\\""},
  {"name": "deduplicate", "columns": ["text"], "way": "near", "threshold": 0.8},
  {"name": "split", "way": "grouped", "column": "author", "share": 0.2},
  {"name": "balance", "column": "label", "ratio": 2}]}}
```

So a run can be repeated anywhere: the same file, the same steps and the same seed give the same rows. What each step
did stands in the run's log. The file itself never changes; taking a step out undoes it.
When a step takes away a column that plays a part, an error names the step until it is taken out or another column is
chosen.

Without a split of its own and without a file to evaluate on, a share of the rows is set aside after the last step, or
before the first that repeats rows, so that no row is both learned and evaluated on.

## Conditions

| Written | Meaning |
|---|---|
| `stars`, `` `a column` ``, `"text"`, `3.5`, `true` | a column, one whose name is not a plain word, values |
| `=` `!=` `<` `<=` `>` `>=` | comparisons; as numbers when one side is a number, else as texts |
| `and` `or` `not` `( )` | conditions joined |
| `+` `-` `*` `/` `%` | arithmetic |
| `label in ["a", "b"]`, `label not in ["a", "b"]` | one of several values |
| `text contains "x"`, `startswith`, `endswith`, `matches "^\\d+$"` | a part, the beginning, the end, a pattern (RE2) |
| `text is empty`, `text is not empty` | nothing, or only blanks |
| `length(text)`, `words(text)` | characters (items of a list, messages of a conversation), words |
| `lower(text)`, `upper(text)`, `trim(text)`, `number(text)`, `text(number)` | changed values |

An empty cell is equal to nothing, and neither smaller nor greater than anything.
"""


TRAINING = """\
## One run on several devices

The studio gives each run one device, and each device a run. To have several GPUs share one run, start it by hand, with
one process a GPU, from a RunSpec whose `data.train` and `model.id` name a file and a folder:

```sh
accelerate launch --multi_gpu --num_processes 2 -m engine.train spec.json --out folder
```

`batch_size` stays what one update learns from: the processes divide its examples among them, and each holds the whole
base model, so that the result is that of a single device but for rounding and what dropout draws. The folder gets what
every run's has. Asked to stop (Ctrl-C), all stop at the same update, and the same command goes on from there.
`torchrun` starts processes alike, also on the processor; that is what the tests do, as they have no GPU.
"""


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    made = {FOLDER / "methods" / f"{name}.md": method_page(name, kind) for name, kind in methods.every().items()}
    made |= {FOLDER / "tasks" / f"{name}.md": task_page(name, kind) for name, kind in tasks.every().items()}
    made[FOLDER / "combining.md"] = combining_page()
    made[FOLDER / "preparation.md"] = preparation_page()
    made[FOLDER / "training.md"] = ("# Training settings\n\nThe `training` part of a RunSpec.\n\n"
                                    f"{settings_table(Training)}\n\n{TRAINING}")
    return made | pictures.files()


def _bounds(metadata: list[Any]) -> str:
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    parts = [f"{word} {_number(getattr(item, key))}" for item in metadata for key, word in signs.items()
             if hasattr(item, key)]
    return f"Allowed: {', '.join(parts)}." if parts else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def main() -> int:
    """Write the pages, or with --check return 1 when one is stale."""
    made = pages()
    there = [*(file for kind in START.values() for file in (FOLDER / kind).glob("*.md")),
             *pictures.FOLDER.glob("*.svg")]
    strays = set(there) - set(made)
    if "--check" in sys.argv:
        stale = [path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
        for path in [*stale, *strays]:
            print(f"{path.relative_to(FOLDER.parent)} is out of date: run `make docs`.")
        return 1 if stale or strays else 0
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in strays:
        path.unlink()
    print(f"{len(made)} pages written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
