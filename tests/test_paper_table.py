"""A small version of the paper's table, held against the closed form it must come out at."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from toolkit import problems
from toolkit.serve.world import World, load_world
from toolkit.spec import Problems

SCRIPT = Path(__file__).parent / "bench" / "paper_table.py"
PROBLEMS = 250
DRAWS = {"strong": 10, "cheap": 30}
MODELS = {"strong": "gemma2-27b", "cheap": "gemma2-9b"}
SIGMAS = 4.0


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def missed(a: float, b: float, k: int) -> float:
    """E[(1 - p)^k] for p ~ Beta(a, b): the share of problems with no correct draw among k."""
    return math.exp(math.lgamma(b + k) - math.lgamma(b) + math.lgamma(a + b) - math.lgamma(a + b + k))


def coverage_sigma(a: float, b: float, k: int, draws: int) -> float:
    """An upper bound of the standard error, the problems being given.

    The unbiased estimator varies no more than the mean over draws/k disjoint blocks of k draws.
    """
    return math.sqrt((missed(a, b, k) - missed(a, b, 2 * k)) / (PROBLEMS * (draws // k)))


@pytest.mark.parametrize("dataset", ["math", "gsm8k"])
def test_measured_over_http_is_what_the_abilities_imply(
    bench: ModuleType, tmp_path: Path, dataset: str
) -> None:
    found = bench.reproduce(tmp_path, dataset, seed=0, problems=PROBLEMS)
    assert found.draws == PROBLEMS * sum(DRAWS.values())
    world = yaml.safe_load((bench.ROOT / f"examples/worlds/gemma2-{dataset}.yaml").read_text())
    for (arm, k), coverage, diversity in zip(bench.PLACES, found.coverage, found.diversity, strict=True):
        a, b = (world["models"][MODELS[arm]]["ability"][key] for key in "ab")
        covered, solved_sigma = 1 - missed(a, b, k), coverage_sigma(a, b, k, DRAWS[arm])
        assert coverage.value / 100 == pytest.approx(covered, abs=SIGMAS * solved_sigma), (arm, k)
        once = a / (a + b)  # diversity per solved problem is k * pass@1 / coverage@k
        relative = solved_sigma / covered + coverage_sigma(a, b, 1, DRAWS[arm]) / once
        assert diversity.value == pytest.approx(k * once / covered, rel=SIGMAS * relative), (arm, k)
        assert coverage.low <= coverage.value <= coverage.high


def test_a_seed_of_the_table_is_the_seed_of_its_world(bench: ModuleType, tmp_path: Path) -> None:
    """Another seed makes other problems hard, and as many of them."""
    known = problems.load(Problems(limit=40)).problems
    abilities = []
    for seed in (0, 1):
        bench.write_run(tmp_path / str(seed), "math", seed, problems=40)
        world = World(load_world(tmp_path / str(seed) / "world.yaml"), known)
        abilities.append(world.ability("gemma2-9b").tolist())
    assert abilities[0] != abilities[1]
    assert sorted(abilities[0]) == sorted(abilities[1])
