"""What is copied from the page says exactly what was on the screen, whatever characters were in it."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from typing import Any

import pytest

from engine.export import readme
from engine.export.readme import Facts
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


def generating(task: str, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the settings that plain peft is asked with, and the script."""
    facts = Facts(name="a", kind="adapter", task=task, base="org/b", local=False)
    script = "\n".join(readme.ask_lines(facts, {"source": EVIL}, [{"role": "user", "content": EVIL}], options))
    call = next(node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute) and node.func.attr == "generate")
    return {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg}, script


def test_plain_peft_writes_as_the_screen_says() -> None:
    chosen, script = generating("causal_lm", {"temperature": 0.7, "top_p": 0.95, "max_new_tokens": 128, "seed": 7})
    assert chosen == {"max_new_tokens": 128, "do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 0}
    assert "torch.manual_seed(7)" in script
    assert generating("causal_lm", {"temperature": 0, "max_new_tokens": 9})[0] == {"max_new_tokens": 9,
                                                                                    "do_sample": False}
    assert generating("seq2seq", {"num_beams": 3, "max_new_tokens": 9, "no_repeat": 2})[0] == {
        "max_new_tokens": 9, "do_sample": False, "num_beams": 3, "length_penalty": 1.0, "no_repeat_ngram_size": 2}
    assert [generating(task, {})[0] for task in ("causal_lm", "seq2seq")] == [{"max_new_tokens": 100},
                                                                              {"max_new_tokens": 128}]
