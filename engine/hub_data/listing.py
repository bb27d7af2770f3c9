"""What a dataset on the Hub holds: configurations, their splits, and the files of each."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, computed_field

from engine.hub_data.errors import ConfigNeeded, NoSuchConfig, NoSuchSplit

#: Names of splits to learn from and to evaluate on, the likeliest first.
TRAIN = ("train", "training")
HELD = ("validation", "valid", "dev", "val", "test", "testing", "eval", "evaluation")
#: Instead of the name of a split to evaluate on: there is to be none.
NONE = "none"


class Chosen(NamedTuple):
    """A configuration, its split to learn from, and the one to evaluate on ("" where there is none)."""

    config: str
    split: str
    eval_split: str


class Split(BaseModel):
    """Rows that belong together: its files with their bytes, in order; `rows` is what the dataset's card says."""

    model_config = ConfigDict(frozen=True)

    name: str
    files: dict[str, int]
    rows: int | None = None

    @computed_field
    @property
    def bytes(self) -> int:
        """Bytes of all its files."""
        return sum(self.files.values())


class Config(BaseModel):
    """One of the tables that a dataset offers, with its splits."""

    model_config = ConfigDict(frozen=True)

    name: str
    splits: list[Split]
    default: bool = False

    def split(self, name: str) -> Split | None:
        """Return a split; None when there is none by that name."""
        return next((one for one in self.splits if one.name == name), None)


class Listing(BaseModel):
    """A dataset at one commit, `revision`; the files of a `converted` one are those that the Hub made of it.

    `cached` tells that the Hub was not asked.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    revision: str
    licence: str = ""
    configs: list[Config]
    converted: bool = False
    cached: bool = False

    def config(self, name: str) -> Config:
        """Return a configuration; "" is the only one, or the one meant when nobody says; raises DataError."""
        known = ", ".join(one.name for one in self.configs)
        if name:
            found = next((one for one in self.configs if one.name == name), None)
            if found is None:
                raise NoSuchConfig("config", id=self.id, config=name[:80], known=known)
            return found
        meant = [one for one in self.configs if one.default] or [one for one in self.configs if one.name == "default"]
        if not meant and len(self.configs) > 1:
            raise ConfigNeeded("config", id=self.id, known=known)
        return (meant or self.configs)[0]

    def split(self, config: str, name: str) -> Split:
        """Return a split of a configuration; raises NoSuchConfig, NoSuchSplit."""
        found = self.config(config)
        split = found.split(name)
        if split is None:
            known = ", ".join(one.name for one in found.splits)
            raise NoSuchSplit("split", id=self.id, config=found.name, split=name[:80], known=known)
        return split

    def choose(self, config: str = "", split: str = "", eval_split: str | None = None) -> Chosen:
        """Return what to take of a dataset, guessing what is left open; raises ConfigNeeded and its like.

        `eval_split` None guesses by the names of the splits, "none" or "" takes none.
        """
        found = self.config(config)
        names = [one.name for one in found.splits]
        train = self.split(found.name, split).name if split else next((n for n in TRAIN if n in names), names[0])
        if eval_split is None:
            held = next((name for name in HELD if name in names and name != train), "")
        elif eval_split in ("", NONE):
            held = ""
        else:
            held = self.split(found.name, eval_split).name
        return Chosen(found.name, train, held)
