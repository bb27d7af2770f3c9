"""Restaurants' attributes put into words: where a prefix acts, by BLEU."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from bench.fidelity.comparison import Claim, Comparison, Effort, Row, Source, Trained

#: Restaurants kept aside of devset.csv to choose learning rates by.
TUNE = 60
#: Most tokens of an answer; the longest reference is shorter.
LONGEST = 96


def _e2e(folder: Path) -> tuple[list[Row], list[Row], list[Row]]:
    """Learn from one row a reference; tune and test on one row a restaurant, with all its references."""
    known, test = (_restaurants(folder / name) for name in ("devset.csv", "testset_w_refs.csv"))
    random.Random(0).shuffle(known)
    train = [row | {"completion": text} for row in known[TUNE:] for text in row["references"].splitlines()]
    return train, known[:TUNE], test


def _restaurants(path: Path) -> list[Row]:
    texts: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            texts.setdefault(row["mr"], []).append(" ".join(row["ref"].split()))
    return [{"prompt": meaning, "completion": found[0], "references": "\n".join(found)}
            for meaning, found in texts.items()]


def bleu(trained: Trained) -> float:
    """Return BLEU / 100 of greedy answers against all references of each restaurant, tokenised as sacrebleu does."""
    import sacrebleu

    from engine.predict import Player

    with trained.rows.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    player = Player(trained.model, "causal_lm")
    player.attach("trained", trained.out / trained.result["artifact"])
    (answers,) = player.respond(["trained"], [{"prompt": row["prompt"]} for row in rows],
                                options={"max_new_tokens": LONGEST})
    said = [reply["label"].strip() for reply in answers["replies"]]
    known = [row["references"].splitlines() for row in rows]
    # One list for each reference's number; a restaurant with fewer has an empty text there, which is passed over.
    streams = [[refs[i] if i < len(refs) else "" for refs in known] for i in range(max(map(len, known)))]
    return sacrebleu.corpus_bleu(said, streams).score / 100


SENTENCES = Comparison(
    name="sentences", title="From tables to text: where a prefix acts", task="causal_lm",
    about="The E2E data: a restaurant's attributes become a sentence. BLEU of greedy answers against all references. "
          "Ten virtual tokens each: a prefix in every layer before the text, an infix between text and answer, or "
          "embeddings at the input only.",
    models=("starter/smollm2-135m",),
    sources=(Source("e2e_nlg", "BLEU", _e2e, {"prompt": "prompt", "completion": "completion"}, 192),),
    methods={
        "prefix": {"name": "prefix_tuning"}, "infix": {"name": "prefix_tuning", "place": "infix"},
        # Without an MLP to learn through, the rate for what is learned directly is the one to start from.
        "embedding only": {"name": "prefix_tuning", "place": "embedding", "reparameterize": False}},
    # Few rows a batch: prefixes start far from anything useful and need many updates.
    effort=Effort(train=1200, tune=30, test=100, epochs=2, batch=4),
    claims=(Claim("prefix", "infix", "Prefix-tuning, table 4"),
            Claim("infix", "embedding only", "Prefix-tuning, table 4"),
            Claim("prefix", "embedding only", "Prefix-tuning, table 4")),
    score=bleu)
