"""The steps of an experiment, one file each: pretrain, learn a trigger, poison a victim, defend, evaluate."""

from bdray.pipeline.stages.base import Context, EpochStage, Report, Stage, silent
from bdray.pipeline.stages.defend import Defend
from bdray.pipeline.stages.evaluate import EXAMPLES, Evaluate, evaluate_base
from bdray.pipeline.stages.measure import load_model, measure
from bdray.pipeline.stages.pretrain import Pretrain
from bdray.pipeline.stages.training import WEIGHTS, TrainingStage
from bdray.pipeline.stages.trigger import LearnTrigger, ready_trigger
from bdray.pipeline.stages.victim import PoisonVictim, TakeVictim, decided_set, poisoned_set, victim_of

__all__ = [
    "EXAMPLES",
    "WEIGHTS",
    "Context",
    "Defend",
    "EpochStage",
    "Evaluate",
    "LearnTrigger",
    "PoisonVictim",
    "Pretrain",
    "Report",
    "Stage",
    "TakeVictim",
    "TrainingStage",
    "decided_set",
    "evaluate_base",
    "load_model",
    "measure",
    "poisoned_set",
    "ready_trigger",
    "silent",
    "victim_of",
]
