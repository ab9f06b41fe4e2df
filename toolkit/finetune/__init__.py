"""Supervised finetuning of students on datasets: jobs, one training, many of them, the search for a learning rate."""

from toolkit.finetune.jobs import Job, base, done, fingerprint, record
from toolkit.finetune.many import train_many
from toolkit.finetune.search import settled, trials
from toolkit.finetune.training import train
from toolkit.finetune.usable import check

__all__ = [
    "Job",
    "base",
    "check",
    "done",
    "fingerprint",
    "record",
    "settled",
    "train",
    "train_many",
    "trials",
]
