"""Errors that a user can act on.

Every one of them states what is wrong, where, which rule it breaks and what to do next. The command
line prints the message without a traceback and exits with status 2.
"""

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors of the operating system that a user can act on wherever they occur."""


class BdrayError(Exception):
    """Base of all errors that are the user's to solve."""


class ConfigError(BdrayError):
    """A study, an experiment or a setting does not describe something that can run."""


class DataError(BdrayError):
    """A data set cannot be read, or does not hold what the experiment asks of it."""


class CheckpointError(BdrayError):
    """A file of weights is unreadable, unsafe, or does not fit the model."""


class StoreError(BdrayError):
    """The store cannot be read or written, or an entry of it is damaged."""


class LostResultError(StoreError):
    """A finished stage's file is damaged or gone. Its result counts as missing now, and is computed anew."""

    def __init__(self, message: str, key: str = "") -> None:
        """Remember the stage's key."""
        super().__init__(message)
        self.key = key


class TrackingError(BdrayError):
    """The MLflow server or database cannot be used."""


class SearchError(BdrayError):
    """The history of a search cannot be read or written."""


class ClusterError(BdrayError):
    """The Ray cluster cannot be reached or cannot hold one trial of the study."""


class TrainingError(BdrayError):
    """Training cannot go on for a reason that lies in the trial itself, such as a loss that is NaN."""
