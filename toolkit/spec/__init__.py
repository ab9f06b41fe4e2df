"""The run file's schema: every key, its meaning, its unit. Frozen pydantic nouns, nothing else.

Reading, `--set` and one-line errors live in `config`.
"""

from toolkit.spec.budget import ADAPTIVE, Budget, Match, Mixture, Pilot, Policy, PolicyName
from toolkit.spec.dataset import GOLD, UNVERIFIED_ROWS, Control, Dataset, Folder, Names
from toolkit.spec.evaluation import Evaluate
from toolkit.spec.models import (
    BALANCED,
    SEVERAL,
    THINKERS,
    Count,
    Decoding,
    Expect,
    Limits,
    Model,
    Params,
    Provider,
    Size,
)
from toolkit.spec.prices import GPU_SOURCE, Dollars, Gpu, Price, Rates
from toolkit.spec.problems import SAME, Problems
from toolkit.spec.run import Run, part_name
from toolkit.spec.section import Section
from toolkit.spec.stages import Judge, Metrics, Report, Sampling, Verify
from toolkit.spec.training import SEARCH_SEED, Attention, Finetune, Lora, Student

__all__ = [
    "ADAPTIVE",
    "BALANCED",
    "GOLD",
    "GPU_SOURCE",
    "SAME",
    "SEARCH_SEED",
    "SEVERAL",
    "THINKERS",
    "UNVERIFIED_ROWS",
    "Attention",
    "Budget",
    "Control",
    "Count",
    "Dataset",
    "Decoding",
    "Dollars",
    "Evaluate",
    "Expect",
    "Finetune",
    "Folder",
    "Gpu",
    "Judge",
    "Limits",
    "Lora",
    "Match",
    "Metrics",
    "Mixture",
    "Model",
    "Names",
    "Params",
    "Pilot",
    "Policy",
    "PolicyName",
    "Price",
    "Problems",
    "Provider",
    "Rates",
    "Report",
    "Run",
    "Sampling",
    "Section",
    "Size",
    "Student",
    "Verify",
    "part_name",
]
