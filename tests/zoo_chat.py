"""Broken conversations, prompts and plain texts."""

from __future__ import annotations

from beast import Beast, Write, data, lines, table

FINE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def chats(*conversations: list[tuple[str, object]]) -> Write:
    """Return a writer of conversations, the broken ones after 30 good ones."""
    good = [[("user", f"question {i}"), ("assistant", f"answer {i}")] for i in range(30)]
    return lines(*({"messages": [{"role": role, "content": text} for role, text in item]}
                   for item in [*good, *conversations]))


def prompts(*odd: tuple[object, object]) -> bytes:
    """Return prompts and completions as csv, the broken ones after 30 good ones."""
    return table([*((f"question number {i}", f"answer number {i}") for i in range(30)), *odd],
                 ("prompt", "completion"))


def shared(*turns: dict[str, object]) -> Write:
    """Return a writer of ShareGPT's conversations, the last one broken."""
    good = [{"conversations": [{"from": "human", "value": f"question {i}"}, {"from": "gpt", "value": f"answer {i}"}]}
            for i in range(30)]
    return lines(*good, {"conversations": list(turns)})


EXCHANGE = {"prompt": "prompt", "completion": "completion"}
BEASTS = [
    Beast("system_late.jsonl", chats([("user", "a"), ("assistant", "b"), ("system", "c")]), "system_late", "error"),
    Beast("two_users.jsonl", chats([("user", "a"), ("user", "b"), ("assistant", "c")]), "role_order", "warning"),
    Beast("answer_first.jsonl", chats([("assistant", "a"), ("user", "b"), ("assistant", "c")]), "role_order",
          "warning"),
    Beast("no_answer.jsonl", chats([("user", "a")]), "no_answer", "error"),
    Beast("open_end.jsonl", chats([("user", "a"), ("assistant", "b"), ("user", "c")]), "ends_with_question", "warning"),
    Beast("strange_role.jsonl", chats([("wizard", "a"), ("assistant", "b")]), "role_unknown", "error"),
    Beast("no_content.jsonl", chats([("user", None), ("assistant", "b")]), "content_missing", "error"),
    Beast("no_messages.jsonl", chats([]), "conversation_empty", "error"),
    Beast("odd_messages.jsonl", lines(*({"messages": [{"role": "user", "content": "a"},
                                                      {"role": "assistant", "content": "b"}]},) * 9,
                                      {"messages": ["hello", "hi"]}), "messages_malformed", "error"),
    Beast("only_empty_chats.jsonl", lines(*({"messages": []},) * 30), "conversation_empty", "error",
          rows=tuple(range(1, 21))),
    Beast("one_empty_chat.jsonl", lines({"messages": []}), "conversation_empty", "error", rows=(1,)),
    Beast("empty_chats_as_text.csv", data(table([("[]",)] * 30, ("messages",))), "not_messages", "error"),
    Beast("texts_as_messages.jsonl", lines(*({"messages": "hello"},) * 30), "not_messages", "error"),
    Beast("lists_as_messages.jsonl", lines(*({"messages": ["hello", "hi"]},) * 30), "not_messages", "error"),
    Beast("objects_as_messages.jsonl", lines(*({"messages": [{"a": i}, {"b": i}]} for i in range(30))),
          "not_messages", "error"),
    Beast("picture_as_content.jsonl", lines(*({"messages": FINE},) * 30, {"messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, FINE[1]]}),
        "messages_malformed", "error", rows=(31,)),
    Beast("number_as_content.jsonl", lines(*({"messages": FINE},) * 30, {"messages": [
        {"role": "user", "content": 5}, FINE[1]]}), "messages_malformed", "error", rows=(31,)),
    Beast("blank_answer.jsonl", chats([("user", "a"), ("assistant", " ")]), "content_blank", "warning", rows=(31,)),
    Beast("only_system.jsonl", chats([("system", "be kind")]), "no_answer", "error", rows=(31,)),
    Beast("two_systems.jsonl", chats([("system", "a"), ("system", "b"), ("user", "c"), ("assistant", "d")]),
          "system_late", "error", rows=(31,)),
    Beast("same_chats.jsonl", chats(*[[("user", "a"), ("assistant", "b")]] * 4), "duplicates", "warning"),
    Beast("unknown_from.jsonl", shared({"from": "narrator", "value": "a"}, {"from": "gpt", "value": "b"}),
          "role_unknown", "error", rows=(31,)),
    Beast("no_from.jsonl", shared({"value": "a"}, {"from": "gpt", "value": "b"}), "role_unknown", "error", rows=(31,)),
    Beast("spelled_chats.csv", data(table([('[{"role": "user", "content": "a"}]',)] * 30, ("messages",))),
          "not_messages", "error"),
    Beast("deep_chats.csv", data(table([("[" * 50_000,)] * 30, ("messages",))), "not_messages", "error"),
    Beast("empty_completion.csv", data(prompts(("a question", ""))), "text_empty", "warning", rows=(31,)),
    Beast("empty_prompt.csv", data(prompts(("", "an answer"))), "text_empty", "warning", rows=(31,)),
    Beast("same_completion.csv", data(table([(f"question number {i}", "no idea") for i in range(30)],
                                            ("prompt", "completion"))), "text_constant", "error", EXCHANGE,
          "causal_lm"),
    Beast("no_completion.csv", data(table([(f"question number {i}", "") for i in range(30)], ("prompt", "completion"))),
          "text_empty", "error", EXCHANGE, "causal_lm"),
    Beast("half_mapped.csv", data(prompts()), "role_missing", "error", {"prompt": "prompt"}, "causal_lm"),
    Beast("two_completions.csv", data(prompts(("question number 3", "another one"))), "duplicates_conflict", "warning",
          rows=(31,)),
    Beast("leaked_prompts.csv", data(prompts()), "eval_overlap", "warning", rows=(1,),
          eval=data(table([("question number 7", "new"), ("and this", "one")], ("prompt", "completion")))),
    Beast("leaked_chats.jsonl", chats(), "eval_overlap", "warning", rows=(2,),
          eval=lines({"messages": [{"role": "user", "content": "new"}, FINE[1]]},
                     {"messages": [{"role": "user", "content": "question 3"},
                                   {"role": "assistant", "content": "answer 3"}]})),
    Beast("eval_without_answers.jsonl", chats(), "no_answer", "error", rows=(1,),
          eval=lines({"messages": [{"role": "user", "content": "new"}]})),
    Beast("no_final_number.csv", data(prompts()), "pattern_not_found", "error", EXCHANGE, "causal_lm",
          {"pattern": r"#### (\d+)"}),
    Beast("numbers_only.txt", data("\n".join(map(str, range(40))) + "\n"), "columns_not_recognised", "error"),
]
