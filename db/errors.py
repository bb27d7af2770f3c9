"""What can go wrong between a request and the database."""

from __future__ import annotations

from engine.errors import Refused


class NotFound(Refused):
    """There is no {noun} '{id}'."""

    kind = "not_found"
    try_this = "It may have been deleted. Look at the list of {noun}s."
    status = 404


class Conflict(Refused):
    """The request does not fit what is there: {problem}"""

    kind = "conflict"
    try_this = "Reload the page and look again."
    status = 409


class RunActive(Conflict):
    """The run '{name}' is still going on ({state})."""

    kind = "run_active"
    try_this = "Stop it first."


class RunEnded(Conflict):
    """The run '{name}' has already ended ({state})."""

    kind = "run_ended"
    try_this = "Resume it, or duplicate it to start again."


class NotResumable(Conflict):
    """The run '{name}' cannot be resumed ({state})."""

    kind = "not_resumable"
    try_this = "Only cancelled, failed and interrupted runs resume; duplicate it to start again."


class InUse(Conflict):
    """The {noun} '{name}' is in use by {users}."""

    kind = "in_use"
    try_this = "Wait until they have ended, or stop them first."


class BadName(Refused):
    """This name cannot be used: {problem}"""

    kind = "bad_name"
    try_this = "Use between 1 and 200 characters."


class LeaseLost(Conflict):
    """The run '{id}' is no longer held by this worker."""

    kind = "lease_lost"
    try_this = "Another attempt goes on with it; nothing needs to be done."


class BadKey(Refused):
    """'{key}' is not a place for a stored file."""

    kind = "bad_key"
    try_this = "Use at least two plain path segments, such as runs/run_1/file."


class BadSetting(Refused):
    """{name} is '{value}', but {allowed}."""

    kind = "settings_invalid"
    try_this = "Set {name} to something else, or unset it for the default. It means: {meaning}."


class BadDataFolder(Refused):
    """STUDIO_DATA_DIR is '{value}', which cannot be used as the data folder: {problem}."""

    kind = "data_folder_invalid"
    try_this = "Set STUDIO_DATA_DIR to a folder that this user may write to; it is made if it is not there."


class Unanswered(Refused):
    """No worker took this question within {minutes:.0f} minutes."""

    kind = "unanswered"
    try_this = "Ask again once a worker is running."
