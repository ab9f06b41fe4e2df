"""What is published: three packages and the prompts, buildable from the sdist, runnable when installed."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import toolkit

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist from the tree, and a wheel from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*build, "--sdist", str(ROOT)], check=True, capture_output=True)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(out / "unpacked", filter="data")
    (unpacked,) = (out / "unpacked").iterdir()
    subprocess.run([*build, "--wheel", str(unpacked)], check=True, capture_output=True)
    return out


def names(built: Path) -> list[str]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_exactly_the_three_packages(built: Path) -> None:
    assert {n.split("/")[0] for n in names(built)} == {
        "toolkit",
        "providers",
        "prompts",
        f"pricematch-{toolkit.__version__}.dist-info",
    }


def test_the_wheel_holds_every_prompt_and_data_file_and_nothing_that_was_compiled(built: Path) -> None:
    packed = set(names(built))
    needed = {str(p.relative_to(ROOT)) for p in (ROOT / "prompts").glob("*.md")}
    needed |= {"toolkit/catalog.toml", "toolkit/report/page.html.j2"}
    assert needed <= packed
    assert not [n for n in packed if "__pycache__" in n or n.endswith((".pyc", ".safetensors"))]


def test_the_sdist_carries_tests_examples_and_licence(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {n.partition("/")[2] for n in archive.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "constraints.txt",
        "examples/quickstart.yaml",
        "tests/test_packaging.py",
    } <= packed


def test_the_console_script_runs_from_an_installed_wheel(built: Path, tmp_path: Path) -> None:
    """Dependencies come from this environment; the project itself only from the wheel."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    (wheel,) = built.glob("*.whl")
    target = next((home / "lib").glob("python*")) / "site-packages"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--no-index",
            "--quiet",
            "--target",
            str(target),
            str(wheel),
        ],
        check=True,
    )
    dependencies = next(p for p in sys.path if p.endswith("site-packages"))
    (target / "dependencies.pth").write_text(dependencies + "\n")
    ask = "import importlib.metadata as m; (e,) = m.entry_points(group='console_scripts', name='pricematch'); e.load()()"
    done = subprocess.run(
        [home / "bin" / "python", "-c", ask, "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout.strip()) == (0, toolkit.__version__)
    where = subprocess.run(
        [
            home / "bin" / "python",
            "-c",
            "import toolkit, prompts; print(toolkit.__file__); print(prompts.load('gsm8k').template[:2])",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert str(target) in where.stdout
