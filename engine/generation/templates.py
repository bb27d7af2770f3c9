"""Chat templates that a person can choose, or write: checked before anything is rendered with them."""

from __future__ import annotations

from typing import Any

from engine import chat
from engine.errors import SpecError

#: ChatML; the model's own end mark follows where <|im_end|> is not that mark itself.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{% if message['role'] == 'assistant' and eos_token and eos_token != '<|im_end|>' %}{{ eos_token }}{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
#: Stanford Alpaca's (Taori et al., 2023): a system message takes the place of its opening sentence.
ALPACA = (
    "{{ bos_token or '' }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\n\n' }}"
    "{% else %}{{ 'Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n' }}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ '### Response:\n' + message['content'] + (eos_token or '') + '\n\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}")
#: Templates by the name under which they are chosen; "auto" is the tokenizer's own.
NAMED = {"chatml": CHATML, "alpaca": ALPACA, "dialogue": chat.CONVERSATION, "plain": chat.PROMPT}


class TemplateBroken(SpecError):
    """The chat template cannot be used: {problem}."""

    kind = "template_broken"
    try_this = "Correct the template, or choose one of: auto, chatml, alpaca, dialogue, plain."


def check(text: str) -> None:
    """Raise ValueError, saying what is wrong, for a template that is neither named nor Jinja that shows messages."""
    if text == "auto" or text in NAMED:
        return
    if "{{" not in text and "{%" not in text:
        raise ValueError(f"the template is none of auto, {', '.join(NAMED)}, and no Jinja text either")
    from jinja2 import TemplateSyntaxError, meta, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    # Templates for chats may mark what is learned; transformers knows that tag, Jinja does not.
    plain = text.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    try:
        tree = environment.parse(plain)
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno} of the template is not Jinja: {error.message}") from None
    if "messages" not in meta.find_undeclared_variables(tree):
        raise ValueError("the template does not show `messages`")
    told = {str(node.value) for node in tree.find_all(nodes.Const)} | {
        node.attr for node in tree.find_all(nodes.Getattr)}
    if "content" not in told:
        raise ValueError("the template does not show the `content` of messages")


def choose(tokenizer: Any, wanted: str, form: Any) -> str:
    """Give the tokenizer the template wanted; return a sentence for the log, or nothing.

    `form` is that of the data: messages, prompt or text. Raises TemplateBroken for one that loses what is said.
    """
    if wanted == "auto":
        if tokenizer.chat_template:
            return ""
        tokenizer.chat_template = chat.fallback(form)
        return "The base model has no chat template; a simple one was added and is saved with the adapter."
    if form == "text":
        if not tokenizer.chat_template:
            tokenizer.chat_template = chat.fallback(form)
        return "Plain text is learned as it is; the chat template chosen is not used."
    tokenizer.chat_template = NAMED.get(wanted, wanted)
    if wanted == "chatml" and tokenizer.eos_token and "<|im_end|>" not in tokenizer.get_vocab():
        # Spelt out letter by letter, an end mark would be long and hard to learn: the model's own takes its place.
        tokenizer.chat_template = CHATML.replace("'<|im_end|>'", "eos_token")
    _try(tokenizer)
    name = f"'{wanted}'" if wanted in NAMED else "of your own"
    return f"The chat template {name} is used and saved with the adapter."


def _try(tokenizer: Any) -> None:
    """Raise TemplateBroken when a question or its answer are not to be seen, or nothing ends an answer."""
    asked, answered = "what-is-asked", "what-is-answered"
    talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    try:
        shown, opened = chat.apply(talk, tokenizer), chat.apply(talk[:1], tokenizer, prompt=True)
    except chat.TemplateRefuses as error:
        raise TemplateBroken("data.options.template", problem=str(error.facts["problem"])) from None
    for word, text, what in ((asked, shown, "a question"), (answered, shown, "its answer"),
                             (asked, opened, "the question to be answered")):
        if word not in text:
            raise TemplateBroken("data.options.template", problem=f"it leaves out {what}")
    if not shown.rpartition(answered)[2].strip():
        raise TemplateBroken("data.options.template", problem=(
            "nothing stands after an answer, so the model would never learn to stop; add {{ eos_token }} there"))
