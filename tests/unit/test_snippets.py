"""What is copied from the page says exactly what was on the screen, whatever characters were in it."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from typing import Any

import pytest

from studio import snippets
from studio.snippets import Question

EVIL = "it's \"$HOME\" `id` \\n; rm -rf / #\nsecond line é 漢 %s {x} !"
URL = "http://127.0.0.1:7860"


def sent(line: str) -> tuple[str, dict[str, Any]]:
    """Return address and body that a curl command sends."""
    words = shlex.split(line)
    return words[2], json.loads(words[words.index("--data-raw") + 1])


def rows() -> Question:
    return Question("question_answering", "local/b", [None, "ad_1"], row={"question": EVIL, "context": "-x @y"},
                    options={"max_new_tokens": 8, "kind": EVIL})


def test_curl_sends_what_was_asked() -> None:
    address, body = sent(snippets.curl(rows(), URL))
    assert address == f"{URL}/api/v1/predictions"
    assert body == {"adapters": [None, "ad_1"], "rows": [{"question": EVIL, "context": "-x @y"}],
                    "options": {"max_new_tokens": 8, "kind": EVIL}}


def test_the_base_alone_is_named_with_its_task() -> None:
    _, body = sent(snippets.curl(Question("text_classification", "local/b", [None], row={"text": "a"}), URL))
    assert body == {"adapters": [None], "model": "local/b", "task": "text_classification", "rows": [{"text": "a"}]}
    words = shlex.split(snippets.command(Question("text_classification", "local/b", [None], row={"text": "a"})))
    assert words[2:] == ["--model", "local/b", "--task", "text_classification", "--row", "text=a"]


def test_the_command_line_gets_every_word_whole() -> None:
    words = shlex.split(snippets.command(rows()))
    assert words[:6] == ["peft-studio", "predict", "--adapter", "base", "--adapter", "ad_1"]
    assert words[6:] == ["--row", f"question={EVIL}", "--row", "context=-x @y", "--max-new-tokens=8", f"--kind={EVIL}"]


def test_python_holds_the_same_question() -> None:
    script = snippets.python(rows(), URL)
    tree = ast.parse(script)
    given = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(given) == rows().documents()


def test_conversations_that_are_alike_are_asked_at_once_and_others_one_by_one() -> None:
    hello = {"role": "user", "content": EVIL}
    alike = Question("causal_lm", "local/b", [None, "ad_1"], conversations=[[hello], [hello]])
    assert alike.documents() == [{"adapters": [None, "ad_1"], "messages": [hello]}]
    apart = Question("causal_lm", "local/b", [None, "ad_1"], conversations=[[hello], [hello, hello]])
    assert [body["adapters"] for body in apart.documents()] == [[None], ["ad_1"]]
    assert apart.documents()[0]["model"] == "local/b" and "model" not in apart.documents()[1]
    assert len(snippets.curl(apart, URL).split("\n\n")) == 2
    words = shlex.split(snippets.command(alike))
    assert words[6:] == ["--message", f"user={EVIL}"]


@pytest.mark.parametrize("name", ["cat.png", "it's a \"cat\"; (1).png"])
def test_images_are_read_from_their_files(name: str) -> None:
    question = Question("image_classification", "local/v", ["ad_1"], files={"image": name})
    words = shlex.split(snippets.curl(question, URL))
    assert words[2] == f"{URL}/api/v1/predictions/files"
    assert json.loads(words[words.index("--form-string") + 1].partition("=")[2]) == {"adapters": ["ad_1"], "rows": [{}]}
    part = words[words.index("-F") + 1]
    assert part.partition("=@")[0] == "image" and ast.literal_eval(part.partition("=@")[2]) == name
    assert shlex.split(snippets.command(question))[-2:] == ["--image", name]
    assert repr(name) in snippets.python(question, URL) and "base64" in snippets.python(question, URL)


def test_a_token_is_asked_for_where_people_have_accounts() -> None:
    question = Question("text_classification", "local/b", ["ad_1"], row={"text": "a"})
    assert 'Bearer $STUDIO_TOKEN"' in snippets.curl(question, URL, signed=True)
    assert "STUDIO_TOKEN" in snippets.python(question, URL, signed=True)
    ast.parse(snippets.python(question, URL, signed=True))
    assert "TOKEN" not in snippets.curl(question, URL)


def test_which_adapters_peft_knows_by_itself_is_told_without_importing_it() -> None:
    code = ("import sys, pathlib, json, tempfile\nfrom engine import adapter\nfrom studio import snippets\n"
            "folder = pathlib.Path(tempfile.mkdtemp())\nfound = []\n"
            "for kind in ('LORA', 'SSF', 'VPT', 'BOTTLENECK', 'OFT', ''):\n"
            "    (folder / 'adapter_config.json').write_text(json.dumps({'peft_type': kind}))\n"
            "    found.append(adapter.is_own(folder))\n"
            "print(found, 'torch' in sys.modules, 'peft' in sys.modules)")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[False, True, True, True, False, False] False False"


def test_our_tuners_are_those_that_peft_does_not_know() -> None:
    from engine import adapter, tuners

    assert not {kind.upper() for kind in tuners.registered()} & adapter._peft_types()
