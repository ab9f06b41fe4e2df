"""Imports point down only, siblings of one layer do not know each other, heavy imports stay where they are used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Lowest first. A module may import any layer below its own; a package listed with /* is one unit inside.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("toolkit", "toolkit.types", "toolkit.errors", "toolkit.disks", "prompts", "toolkit.publish"),
    (
        "toolkit.spec/*",
        "toolkit.answers",
        "toolkit.programs",
        "toolkit.majority",
        "toolkit.contamination",
        "toolkit.word_problems",
        "toolkit.estimators",
        "toolkit.tokens",
        "toolkit.children",
        "toolkit.store",
    ),
    (
        "toolkit.provider",
        "toolkit.families",
        "toolkit.equations",
        "toolkit.wire",
        "toolkit.catalog",
        "toolkit.cost",
        "toolkit.problems",
        "toolkit.ledger/*",
        "toolkit.false_positives",
        "toolkit.limits/*",
        "toolkit.forecast/*",
    ),
    (
        "toolkit.verifiers/*",
        "providers/*",
        "toolkit.policies/*",
        "toolkit.arms",
        "toolkit.gpu",
        "toolkit.typical",
        "toolkit.bills",
        "toolkit.price_check",
        "toolkit.repricing",
    ),
    (
        "toolkit.plan",
        "toolkit.sample/*",
        "toolkit.verify",
        "toolkit.metrics/*",
        "toolkit.audit/*",
        "toolkit.pilot",
    ),
    ("toolkit.allocation", "toolkit.soundness"),
    ("toolkit.dataset/*", "toolkit.finetune/*", "toolkit.evaluate/*", "toolkit.batch/*", "toolkit.job"),
    ("toolkit.planning", "toolkit.students"),
    ("toolkit.pipeline/*", "toolkit.outlook"),
    (
        "toolkit.checks",
        "toolkit.judging",
        "toolkit.rounds",
        "toolkit.batching",
        "toolkit.importing/*",
        "toolkit.report/*",
        "toolkit.config",
        "toolkit.serve/*",
    ),
    ("toolkit.auditing", "toolkit.endpoints", "toolkit.serving", "toolkit.screen", "toolkit.tables/*"),
    ("toolkit.stages",),
    ("toolkit.cli",),
    ("toolkit.__main__",),
)
COMPOSERS = {"toolkit.endpoints", "toolkit.serving"}  # the only importers of providers and of serve
HEAVY = {
    "torch",
    "datasets",
    "litellm",
    "transformers",
    "trl",
    "pandas",
    "openai",
    "google",
    "sympy",
    "math_verify",
}
MAY_BE_HEAVY = {"toolkit.serve.checkpoint", "toolkit.serve.batch", "toolkit.verifiers.symbolic"}


def modules() -> dict[str, Path]:
    found = {}
    for package in ("toolkit", "providers", "prompts"):
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def unit(module: str) -> str:
    """The entry of LAYERS a module belongs to."""
    for layer in LAYERS:
        for entry in layer:
            folder = entry.removesuffix("/*")
            if module == folder or (entry.endswith("/*") and module.startswith(folder + ".")):
                return entry
    raise AssertionError(f"{module} is in no layer: add it to LAYERS")


def level(module: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if unit(module) in layer)


def imports(path: Path, known: dict[str, Path], *, top_only: bool = False) -> Iterator[str]:
    """What a module imports: our modules by full name, others by their first name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in tree.body if top_only else ast.walk(tree):
        if node in typing_only:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            ours = [m for m in (name, name.rpartition(".")[0]) if m in known]
            yield ours[0] if ours else name.split(".")[0]


def test_imports_point_down_only() -> None:
    known = modules()
    wrong = [
        f"{module} -> {imported}"
        for module, path in known.items()
        for imported in imports(path, known)
        if imported in known and unit(imported) != unit(module) and level(imported) >= level(module)
    ]
    assert wrong == []


def test_only_the_composers_import_providers_and_serve() -> None:
    known = modules()
    outside = {
        f"{module} -> {imported}"
        for module, path in known.items()
        for imported in imports(path, known)
        if unit(module) not in ("providers/*", "toolkit.serve/*")
        and module not in COMPOSERS
        and imported in known
        and unit(imported) in ("providers/*", "toolkit.serve/*")
    }
    assert outside == set()


def test_every_listed_module_exists() -> None:
    known = modules()
    listed = [entry.removesuffix("/*") for layer in LAYERS for entry in layer]
    assert [entry for entry in listed if entry not in known] == []


def test_heavy_packages_are_imported_where_they_are_used_not_at_the_top() -> None:
    known = modules()
    top = {
        f"{module} -> {imported}"
        for module, path in known.items()
        if module not in MAY_BE_HEAVY
        for imported in imports(path, known, top_only=True)
        if imported in HEAVY
    }
    assert top == set()


@pytest.mark.parametrize("arguments", [["--help"], ["sample", "--help"], ["prices"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; sys.argv = ['pricematch', *sys.argv[1:]]\n"
        "from toolkit.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"
