"""What tests share: builders, data, strategies and scripts that a test runs in another process."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
