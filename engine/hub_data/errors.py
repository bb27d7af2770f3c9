"""What can be wrong with a dataset on the Hub, each with what to do next."""

from __future__ import annotations

from engine.errors import DataError


class DatasetUnreachable(DataError):
    """The dataset '{id}' is not in the cache {cache}, and the Hub cannot be reached{why}."""

    kind = "hub_dataset_unreachable"
    try_this = ("Connect this machine to the Hub, or to the mirror that HF_ENDPOINT names; fetch the dataset into that "
                "cache elsewhere, or add its files by hand.")


class DatasetMissing(DataError):
    """There is no dataset '{id}' at revision '{revision}' on the Hub, or it is private."""

    kind = "hub_dataset_missing"
    try_this = "Check the spelling; for a private dataset set HF_TOKEN where the worker runs."


class DatasetGated(DataError):
    """The dataset '{id}' is given only to people who have accepted its terms."""

    kind = "hub_dataset_gated"
    try_this = "Accept them on the dataset's page, then set HF_TOKEN to your access token where the worker runs."


class BadDatasetId(DataError):
    """'{id}' is not the id of a dataset on the Hub."""

    kind = "hub_dataset_id_invalid"
    try_this = "Write it as <organisation>/<name>, as in its address on the Hub."


class LoadingScript(DataError):
    """The dataset '{id}' is made by the program {script}, and programs of strangers are not run."""

    kind = "hub_loading_script"
    try_this = ("Its author can have the Hub convert it to parquet; or run that program elsewhere and add the files it "
                "makes.")


class NoDataFiles(DataError):
    """The dataset '{id}' has no files that can be read: {found}."""

    kind = "hub_no_data_files"
    try_this = ("Choose a dataset of parquet, csv, json, arrow or text files, or of zipped images; or download its "
                "files and add them as a folder.")


class NoSuchConfig(DataError):
    """The dataset '{id}' has no configuration '{config}'."""

    kind = "hub_config_unknown"
    try_this = "Choose one of: {known}."


class ConfigNeeded(DataError):
    """The dataset '{id}' has several configurations, and none is chosen."""

    kind = "hub_config_needed"
    try_this = "Choose one of: {known}."


class NoSuchSplit(DataError):
    """'{config}' of the dataset '{id}' has no split '{split}'."""

    kind = "hub_split_unknown"
    try_this = "Choose one of: {known}."


class NoPreview(DataError):
    """The first rows of {file} cannot be shown: {reason}."""

    kind = "hub_no_preview"
    try_this = "Add the dataset: all of it is read then."


class FilesDiffer(DataError):
    """The files {first} and {second} of this split have columns that do not go together ({reason})."""

    kind = "hub_files_differ"
    try_this = "Download them and add the ones you need by themselves."
