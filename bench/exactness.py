"""Whether packing changes what is learned: the loss of every token, packed with other rows and alone, in fp32.

`python -m bench.exactness [--rows 64] [--model starter/smollm2-135m]` prints the row.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.report import Row, table
from engine import models
from engine import spec as specs
from engine.batches import split

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "studio" / "samples" / "friendly_chat.jsonl"
#: Rows compared, in the whole form and in the quick one, and real tokens of a packed batch.
ROWS = {False: 64, True: 12}
BUDGET = 2048
#: Spread of the random numbers that B starts from here, so that the adapter takes part in the comparison.
SPREAD = 0.02


def measure(quick: bool, model: str = "starter/smollm2-135m", rows: int | None = None) -> list[Row]:
    """Return two rows over sample conversations: their per-token losses, and, to inform, every single token's.

    A token with a loss of 20 is rounded to 2e-6 in fp32 by itself, and transformers' own padded batches differ from
    single rows by about 1e-5 for such a token: the second row tells this beside what packing does.
    """
    packed, padded = _differences(model, rows or ROWS[quick])
    tokens = sum(len(row) for row in packed)
    title = "Causal LM, packed batches beside rows alone, fp32"
    return [Row(f"{title}: per-token loss of {len(packed)} talks, max difference", max(map(_mean, packed)), "nats",
                1e-5, note=f"{model} with LoRA, {tokens} tokens of {SAMPLE.name}; "
                f"plain padded batches {max(map(_mean, padded)):.1e}"),
            Row(f"{title}: any one token, max difference", max(map(_largest, packed)), "nats",
                note=f"plain padded batches {max(map(_largest, padded)):.1e}")]


def _mean(differences: list[float]) -> float:
    return abs(sum(differences)) / len(differences)


def _largest(differences: list[float]) -> float:
    return max(map(abs, differences))


def _differences(model: str, count: int) -> tuple[list[list[float]], list[list[float]]]:
    """Return how the loss of each token of each row differs from what it is alone: when packed, and when padded."""
    import torch

    from engine import flat

    task, network, inner, rows = _loaded(model, count)
    network.eval()
    with torch.inference_mode():
        alone = [task.token_losses(network, task.collate([row], 0))[0] for row in rows]
        padded = list(_beside(task, network, rows, alone, packed=False))
        if flat.make_flat(network, inner, task, rows[:3], 0) is None:
            raise RuntimeError(f"{model} cannot be packed")
        task.prepare_model(network, task.collate(rows[:3], 0, packed=True))
        return list(_beside(task, network, rows, alone, packed=True)), padded


def _beside(task: Any, network: Any, rows: list[dict[str, Any]], alone: list[Any], *,
            packed: bool) -> Iterator[list[float]]:
    """Yield the differences of each row's tokens, (targets,), in batches of BUDGET tokens."""
    import torch

    lengths = [len(row["input_ids"]) for row in rows]
    for chosen in split(range(len(rows)), lengths, BUDGET, packed=packed):
        batch = task.collate([rows[i] for i in chosen], 0, packed=packed)
        losses, places = task.token_losses(network, batch)
        spread = torch.full((batch["input_ids"].numel(),), torch.nan).index_copy_(0, places, losses)
        for place, row in enumerate(chosen):
            own = spread[torch.as_tensor(batch["layout"].index[place, :lengths[row]])] if packed else \
                spread.view(len(chosen), -1)[place]
            yield (own[~own.isnan()] - alone[row]).tolist()


def _loaded(model: str, count: int) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
    """Return the task, the model with LoRA, the transformers model inside it, and encoded rows with targets."""
    import torch

    from engine.data import read

    run = specs.parse({"task": "causal_lm", "model": {"id": model}, "method": {"name": "lora"}, "data": {
        "train": str(SAMPLE), "columns": {"messages": "messages"}, "options": {"learn_from": "everything"}}})
    task, columns = run.make_task(), dict(run.data.columns)
    torch.manual_seed(0)
    loaded = models.load(models.locate(model).path, task, [], dtype="fp32")
    tokenizer: Any = loaded.tokenizer
    task.prepare_tokenizer(tokenizer, columns)
    encoded = task.encode(read.read(SAMPLE).slice(0, count), columns, tokenizer, 512, [])
    network: Any = run.method.attach(loaded.model, loaded.shape, loaded.heads)
    for name, parameter in network.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=SPREAD)
    return task, network, loaded.model, [row for row in encoded.rows if task.targets(row)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS[False])
    parser.add_argument("--model", default="starter/smollm2-135m")
    options = parser.parse_args()
    print(table(measure(False, options.model, options.rows)))
