"""Write the JSON Schemas of studies and base experiments, so that editors complete and check their YAML.

Usage: python scripts/export_schema.py    (writes studies/schema.json and studies/base/schema.json)
"""

import json
from pathlib import Path
from typing import Any

from bdray import config
from bdray.pipeline.experiment import Experiment
from bdray.study.study import Study

STUDIES = Path(__file__).parents[1] / "studies"


def partial(schema: dict[str, Any]) -> dict[str, Any]:
    """Let every field be left out, because the file's base may give it."""
    return {key: partial_value(key, value) for key, value in schema.items() if key != "required"}


def partial_value(key: str, value: Any) -> Any:
    """Descend into a schema; names of fields are not keywords."""
    if isinstance(value, dict):
        if key in ("properties", "$defs"):
            return {name: partial(node) for name, node in value.items()}
        return partial(value)
    return [partial_value("", item) for item in value] if isinstance(value, list) else value


def main() -> None:
    """Write both files."""
    study, base = config.json_schema(Study), partial(config.json_schema(Experiment))
    base["properties"]["base"] = {"type": "string", "description": "Name of the base experiment to start from."}
    for path, schema in ((STUDIES / "schema.json", study), (STUDIES / "base" / "schema.json", base)):
        path.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
