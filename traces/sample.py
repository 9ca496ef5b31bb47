"""The recorded trace that comes with the package."""

from pathlib import Path


def sample_path() -> Path:
    """Where the bundled trace lies; its story is in the README.md beside it."""
    return Path(__file__).with_name("sample.parquet")
