"""What soft prompts and prefixes became: the words nearest to them, how alike they are, how strong in each layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.insight.places import Places
from engine.insight.report import Cell, Heat, Lines, Section, Series, Table, digits, rounded
from engine.insight.store import Clock, Saved

if TYPE_CHECKING:
    import torch

#: Words named for each virtual token.
NEAREST = 5
#: Virtual tokens of which all pairs are compared; a map of more could not be read.
DRAWN = 64
#: Rows of the vocabulary compared at a time, which bounds the memory.
CHUNK = 16_384
#: Names of tensors that are prompts at the input, (virtual tokens, width): ours, and that of peft itself.
INPUT_PROMPTS = ("prompt_tokens", "prompt_embeddings")

Words = Callable[[list[int]], list[str]]


def sections(saved: Saved, places: Places, vocabulary: torch.Tensor | None, words: Words | None, clock: Clock,
             scale: float = 1.0) -> list[Section]:
    """Return the sections of an adapter that is a soft prompt, visual prompts or a prefix; none for others.

    `scale` is what the model multiplies the vectors of its vocabulary by before the prompt stands beside them.
    """
    found: list[Section] = []
    for name, prompt in prompts(saved).items():
        title = f" ({name})" if name else ""
        if vocabulary is not None and words is not None and vocabulary.shape[1] == prompt.shape[1] and not clock.over:
            found.append(_words(prompt, vocabulary, words, title, scale))
        found.append(_alike(prompt, title))
    return found + _visual(saved, places) + _prefix(saved, places)


def prompts(saved: Saved) -> dict[str, torch.Tensor]:
    """Return the soft prompts at the input, (virtual tokens, width) in float32: one is called "", more by number."""
    name = next((name for name in saved.shapes if name.rpartition(".")[2] in INPUT_PROMPTS), None)
    if name is None:
        return {}
    members = int(saved.config.get("members") or 1)
    # An ensemble is saved as (members, tokens, width), or one prompt after the other.
    parts = saved.tensor(name).float().flatten(0, -2).chunk(members)
    return {"": parts[0]} if members == 1 else {f"prompt {number}": part for number, part in enumerate(parts, start=1)}


def nearest(prompt: torch.Tensor, vocabulary: torch.Tensor, count: int = NEAREST) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (distances, token ids), both (virtual tokens, count): the nearest by cosine distance, 0 to 2, first."""
    import torch

    own = torch.nn.functional.normalize(prompt.float(), dim=1)
    best, ids = torch.full((len(own), 0), 0.0), torch.full((len(own), 0), 0, dtype=torch.long)
    for start in range(0, len(vocabulary), CHUNK):
        part = torch.nn.functional.normalize(vocabulary[start:start + CHUNK].float(), dim=1)
        cosines, places = torch.topk(own @ part.T, min(count, len(part)), dim=1)
        both, known = torch.cat([best, cosines], dim=1), torch.cat([ids, places + start], dim=1)
        best, chosen = torch.topk(both, min(count, both.shape[1]), dim=1)
        ids = known.gather(1, chosen)
    return (1 - best).clamp(min=0), ids


def _words(prompt: torch.Tensor, vocabulary: torch.Tensor, words: Words, title: str, scale: float) -> Section:
    distances, ids = nearest(prompt, vocabulary)
    usual = vocabulary[::max(1, len(vocabulary) // 2000)].float().norm(dim=1).mean() * scale
    rows: list[list[Cell]] = []
    for number, (near, known) in enumerate(zip(distances.tolist(), ids.tolist(), strict=True)):
        named = words(known)
        others = ", ".join(f"{word} ({distance:.2f})" for word, distance in zip(named[1:], near[1:], strict=True))
        length = digits(prompt[number].norm() / usual, 3)
        rows.append([number + 1, named[0], digits(near[0], 3), others, length])
    return Section(
        name="nearest_words", title=f"The words nearest to the prompt{title}",
        how="For each virtual token, the vocabulary's tokens in the most similar direction, with their cosine "
            "distance: 0 is that very token, about 1 is no likeness, so that a far nearest word means nothing.",
        parts=[Table(title="Nearest words", rows=rows, numeric=[0, 2, 4], open=True, columns=[
            "Token", "Nearest word", "Distance", "Next nearest (distance)", "Length over a word's"])],
        facts={"mean distance of the nearest word": digits(distances[:, 0].mean(), 3)})


def _alike(prompt: torch.Tensor, title: str) -> Section:
    shown = prompt[:DRAWN]
    rest = f"The first {DRAWN} of {len(prompt)} virtual tokens are drawn." if len(prompt) > DRAWN else ""
    return Section(
        name="prompt_similarity", title=f"How alike the virtual tokens are{title}",
        how="The cosine between each two virtual tokens: strongly coloured pairs say the same, so that a shorter "
            "prompt would do; those without colour have nothing in common.",
        parts=[_cosines("Cosine between virtual tokens", shown)], note=rest)


def _cosines(title: str, vectors: torch.Tensor) -> Heat:
    import torch

    own = torch.nn.functional.normalize(vectors.float(), dim=1)
    values = (own @ own.T).tolist()
    names = [str(number + 1) for number in range(len(values))]
    return Heat(title=title, rows=names, columns=names, x_title="virtual token",
                values=[rounded(line, 3) for line in values],
                texts=[[f"cosine {value:.2f}" for value in line] for line in values])


def _visual(saved: Saved, places: Places) -> list[Section]:
    """Return the lengths of visual prompts block by block, and how alike those of the first block are."""
    import torch

    prompts = [(places.of(module)[1], saved.tensor(name).float()) for module, name in saved.named("vpt_prompt")]
    if not prompts:
        return []
    prompts.sort(key=lambda found: (found[0] is not None, found[0] or 0))
    lines = [Series(name=name, x=[None if layer is None else layer + 1 for layer, _ in prompts],
                    y=rounded(of(torch.linalg.vector_norm(values, dim=1)) for _, values in prompts))
             for name, of in (("mean", torch.mean), ("largest", torch.max))]
    first = prompts[0][1][:DRAWN]
    return [Section(
        name="visual_prompts", title="How strong the prompts are",
        how="The length of the prompt vectors that enter each block, and how alike those of the first block are.",
        parts=[Lines(title="Length of the prompts", series=lines, x_title="layer", y_title="length"),
               _cosines("Cosine between the first block's prompts", first)])]


def _prefix(saved: Saved, places: Places) -> list[Section]:
    """Return the lengths of a prefix's keys and values, layer by layer."""
    import torch

    kinds: dict[str, list[tuple[int, float]]] = {}
    for word, name in (("prefix_key", "keys"), ("prefix_value", "values")):
        for number, (module, stored) in enumerate(saved.named(word)):
            layer = places.of(module)[1]
            length = float(torch.linalg.vector_norm(saved.tensor(stored).float(), dim=1).mean())
            own = f"{name}, cross-attention" if "cross" in module.lower() or "encdec" in module.lower() else name
            kinds.setdefault(own, []).append((number if layer is None else layer, length))
    if not kinds:
        return []
    series = [Series(name=name, x=[layer + 1 for layer, _ in sorted(points)], y=rounded(y for _, y in sorted(points)))
              for name, points in kinds.items()]
    return [Section(
        name="prefix_strength", title="How strong the prefix is in each layer",
        how="The mean length of the learned keys and values: long keys draw attention to the prefix, long values "
            "change more of what is computed when it is attended to.",
        parts=[Lines(title="Mean length", series=series, x_title="layer", y_title="length")])]


def words_of(tokenizer: Any) -> Words:
    """Return what turns token ids into words that can be told apart, a space at their beginning shown as one."""
    def word(one: int) -> str:
        text = tokenizer.decode([one])
        # Parts of a character and blanks say nothing; the tokenizer's own name for them does.
        plain = bool(text.strip()) and "\ufffd" not in text
        return repr(text)[1:-1] if plain else str(tokenizer.convert_ids_to_tokens(one))

    return lambda ids: [word(one) for one in ids]
