"""The schema that editors check a scaffold's config.yaml against."""

from __future__ import annotations

import json

from truss.config import TrussConfig
from truss.scaffold import COMMON, SCAFFOLDS

SCHEMA = SCAFFOLDS / COMMON / ".truss/config.schema.json"


def current() -> str:
    """Return the schema of the configuration as it is now."""
    return json.dumps(TrussConfig.model_json_schema(), indent=2) + "\n"


def test_schema_is_current() -> None:
    """Editors know the keys that truss knows. To renew the file: `python -m tests.templates.test_schema`."""
    assert SCHEMA.read_text() == current()


if __name__ == "__main__":
    SCHEMA.write_text(current())
