"""Poisoned training sets as files that others can use: images, a CSV file of captions, an index of every decision.

An exported set is a folder:

``images/00000012.png``
    Sample 12 of the train split as the victim sees it: 8 bits per channel, RGB, lossless.
``captions.csv``
    One row per image. ``image`` and ``caption`` are the columns that CleanCLIP's public code reads; open_clip reads
    them with ``--csv-separator , --csv-img-key image --csv-caption-key caption``, from within the folder.
``trigger.safetensors``
    What a learned trigger has learned.
``index.json``
    The whole experiment, every poisoned sample, and a hash of every image. It is written last.

The index alone reproduces the folder bit for bit, for the data set, the attack and all that is drawn are pure functions
of the experiment. That is about the exported pixels, which are ``round(255 x)``: training applies the trigger in float
and does not round, so a model that is trained on the files is not bit for bit the study's victim.
"""

from bdray.export.index import Index, PoisonedSample
from bdray.export.reader import ExportedSet, read, verify
from bdray.export.reproduction import reproduce
from bdray.export.writer import write

__all__ = ["ExportedSet", "Index", "PoisonedSample", "read", "reproduce", "verify", "write"]
