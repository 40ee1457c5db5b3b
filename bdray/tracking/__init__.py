"""A study in MLflow: one experiment per study, one run per trial and per victim.

The driver is the only process that writes. Each call of the tracker becomes a record, a plain dictionary, which is
written to the spool, sent and deleted; while MLflow is away it stays there and is sent later, in order. What makes
that safe at any moment, also across ``kill -9``, is that **sending a record twice changes nothing**:

* a run is looked up by its tags before it is created, and its tags are written in the transaction that creates it;
* of a run that is there already, only missing parameters and inputs and changed tags are written;
* each batch of metrics carries the metric ``epoch``, in the same transaction; steps up to it are not sent again;
* points carry the time at which they were measured, so that MLflow itself refuses an identical one.
"""

from bdray.tracking.content import redact, spell
from bdray.tracking.inputs import DataInput
from bdray.tracking.tracker import Tracker
from bdray.tracking.view import View

__all__ = ["DataInput", "Tracker", "View", "redact", "spell"]
