"""The recorded trace that comes with the package."""

from pathlib import Path


def sample_path() -> Path:
    """Where the bundled trace lies; its story is in the README.md beside it."""
    return Path(__file__).with_name("sample.parquet")


def find_trace(name: str | Path) -> Path:
    """The path of a trace; the name `sample`, unless it is a file here, is the bundled one."""
    path = Path(name)
    return sample_path() if str(name) == "sample" and not path.exists() else path
