"""What pages, API and command line all do, written once. Every function takes the user first and raises engine.errors.

Adding (files go to the blob store, then a row, then the worker is told):
    add_dataset(user, path, *, name, filename, eval_path, eval_filename, task, columns, options, move) -> Dataset
    add_eval(user, dataset_id, path, *, filename, move) -> Dataset         a file to evaluate on, or another one
    add_hub_dataset(user, id, *, config, split, eval_split, revision, name, task, columns, options) -> Dataset
    hub_data.look(user, id, *, revision, config, split, rows) -> db.looks.Look     what the Hub has, made by a worker
    add_sample(user, name="support_tickets") -> Dataset        prepared sample data, added once
    set_roles(user, dataset_id, columns, *, task, options) -> Dataset      checks, confirms and counts anew
    preview(user, dataset_id, rows=50) -> engine.data.read.Preview
    delete_dataset(user, id) / cancel_dataset(user, id) / retry_dataset(user, id)
    rows.page(user, id, offset, limit, *, search, sort, descending) -> Shown    any page; rows.thumbnail, rows.take
    versions.edit(user, id, changes) / undo / save -> Dataset / family / diff(user, id, against) -> Diff
    preparation.set_steps(user, id, documents) / preview_steps / steps_of(user, row) / columns_after(row, steps)
    looks.samples(user, id) / problems / batch(user, id, model, max_length) -> db.looks.Look    made by a worker
    lengths.counted(user, spec, dataset) / await_counted / told    rows in a base model's tokens, and what is cut
    suspects.suspects(user, id) -> list[Suspect]               rows that runs did worst on
    add_model(user, ref, *, revision, title) -> Model          starter/…, <org>/<name>, local/…
    add_model_files(user, name, files, *, move) -> Model       uploaded safetensors or GGUF with what belongs to them
    add_model_folder(user, folder, *, name) -> Model           a folder on this machine
    delete_model(user, id) / cancel_model(user, id)
Runs:
    check(user, document) -> Check                             everything that stands in the way, and the breakdown
    advise(user, document) -> Advised                          method and settings to choose, each with its reason
    shape_of(model) -> ModelShape / memory_there(user) -> (bytes, device class) / quantizer_there(user) -> bool
    start_run(user, document, *, name, wait) -> Run            raises the first obstacle
    stop_run(user, id, mode) / resume_run(user, id) / delete_run(user, id)
    evaluation(user, id) -> Evaluation                         metrics with intervals, slices, charts
    run_file(user, id, "spec.json") -> Path                    a file of the newest attempt
    samples(user, id) -> list[dict]                            what its model wrote at each evaluation
Results:
    export(user, adapter_id, kind="zip") -> Export             "merge" makes a whole model
    export_file(user, export_id) -> Path / cancel_export(user, id) / delete_adapter(user, id)
    compose(user, adapter_ids, recipe, *, name, dataset_id) -> Composition    becomes an adapter
    cancel_composition(user, id)
    predict_file(user, adapter_id=, path= or dataset_id=, columns=, options=, format=, prepare=, quantization=) -> Batch
    evaluate(user, adapter_id, dataset_id) -> Batch / evaluations(user, adapter_id) / evaluated_on(user, batch)
    batch_file(user, id) -> Path / cancel_batch(user, id) / delete_batch(user, id)
    learned(user, adapter_id, again=False) -> Learned          sections of figures and tables; worked out if need be
    similar_prompts(user, adapter_id) -> list[dict]            soft prompts of the same base model, with cosines
    prompt_sources(user, adapter_id) -> list[dict]             the same as sources of a new run, each with its spec
    ask(user, request) -> Prediction                           the request as `Question` describes it
    answer(user, prediction_id, seconds) -> Prediction / stream(user, prediction_id) -> Iterator[dict] / stop_asking
Waiting:
    settled(read, states, seconds) -> row                      reads until the row's state is one of `states`
"""

from __future__ import annotations

from studio.service import hub_data, lengths, looks, preparation, rows, sources, suspects, versions
from studio.service.adapters import cancel_export, delete_adapter, export, export_file
from studio.service.advice import Advised, advise
from studio.service.batches import (
    batch_file,
    cancel_batch,
    delete_batch,
    evaluate,
    evaluated_on,
    evaluations,
    predict_file,
)
from studio.service.checks import Check, check, shape_of
from studio.service.compositions import cancel_composition, compose
from studio.service.datasets import (
    SAMPLES,
    add_dataset,
    add_eval,
    add_sample,
    cancel_dataset,
    delete_dataset,
    preview,
    retry_dataset,
    set_roles,
)
from studio.service.evaluations import evaluation
from studio.service.fleet import memory_there, quantizer_there
from studio.service.forgetting import forgetting_choices
from studio.service.hub_data import add_hub_dataset
from studio.service.insight import Learned, learned, prompt_sources, similar_prompts, sourced
from studio.service.models import add_model, add_model_files, add_model_folder, cancel_model, delete_model
from studio.service.predictions import Question, answer, ask, stop_asking, stream
from studio.service.rereading import set_header, set_part
from studio.service.runs import NoSuchRunFile, delete_run, resume_run, run_file, start_run, stop_run
from studio.service.waiting import settled
from studio.service.written import samples

__all__ = [
    "SAMPLES", "Advised", "Check", "Learned", "NoSuchRunFile", "Question", "add_dataset", "add_eval",
    "add_hub_dataset", "add_model", "add_model_files", "add_model_folder", "add_sample", "advise", "answer", "ask",
    "batch_file", "cancel_batch", "cancel_composition", "cancel_dataset", "cancel_export", "cancel_model", "check",
    "compose", "delete_adapter", "delete_batch", "delete_dataset", "delete_model", "delete_run", "evaluate",
    "evaluated_on", "evaluation", "evaluations", "export", "export_file", "forgetting_choices", "hub_data",
    "learned", "lengths", "looks", "memory_there", "predict_file", "preparation", "preview", "prompt_sources",
    "quantizer_there", "resume_run", "retry_dataset", "rows", "run_file", "samples", "set_header", "set_part",
    "set_roles", "settled", "shape_of", "similar_prompts", "sourced", "sources", "start_run", "stop_asking",
    "stop_run", "stream", "suspects", "versions"]
