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
    """Return the row of the largest difference over the tokens of sample conversations."""
    compared = list(_differences(model, rows or ROWS[quick]))
    note = (f"{model} with LoRA in fp32, {len(compared)} rows of {SAMPLE.name}, "
            f"{sum(len(row) for row in compared)} tokens; mean {sum(map(sum, compared)) / sum(map(len, compared)):.1e}")
    return [Row("Causal LM: per-token loss of packed batches equals unpacked, max difference",
                max(map(max, compared)), "nats", 1e-5, note=note)]


def _differences(model: str, count: int) -> Iterator[list[float]]:
    """Yield, for each row, how far the loss of each of its tokens is from what it is without other rows."""
    import torch

    from engine import flat

    task, network, inner, rows = _loaded(model, count)
    network.eval()
    with torch.inference_mode():
        alone = [task.token_losses(network, task.collate([row], 0))[0] for row in rows]
        if flat.make_flat(network, inner, task, rows[:3], 0) is None:
            raise RuntimeError(f"{model} cannot be packed")
        lengths = [len(row["input_ids"]) for row in rows]
        task.prepare_model(network, task.collate(rows[:3], 0, packed=True))
        for chosen in split(range(len(rows)), lengths, BUDGET, packed=True):
            batch = task.collate([rows[i] for i in chosen], 0, packed=True)
            losses, places = task.token_losses(network, batch)
            spread = torch.full((batch["layout"].tokens,), torch.nan).index_copy_(0, places, losses)
            for place, row in enumerate(chosen):
                own = spread[torch.as_tensor(batch["layout"].index[place, :lengths[row]])]
                yield (own[~own.isnan()] - alone[row]).abs().tolist()


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
