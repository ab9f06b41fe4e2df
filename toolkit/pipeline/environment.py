"""What ran."""

import importlib.metadata
import platform

KEEPS_UP = (
    "accelerate",
    "datasets",
    "math-verify",
    "torch",
    "transformers",
    "trl",
)  # versions that matter to results


def versions() -> dict[str, str]:
    """What ran: interpreter and the packages whose version can change a result."""
    found = {"pricematch": importlib.metadata.version("pricematch"), "python": platform.python_version()}
    for package in KEEPS_UP:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
