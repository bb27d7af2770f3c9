"""Datasets on the Hugging Face Hub, through its own client: what there is, the first rows, and all of a split.

No program that comes with a dataset is ever run: its data files are read by our own readers.
"""

from engine.hub_data.client import look
from engine.hub_data.fetch import Fetched, fetch
from engine.hub_data.head import preview
from engine.hub_data.listing import Chosen, Config, Listing, Split

__all__ = ["Chosen", "Config", "Fetched", "Listing", "Split", "fetch", "look", "preview"]
