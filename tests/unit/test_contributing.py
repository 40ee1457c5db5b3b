"""CONTRIBUTING.md's example does what it says."""

import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
USE = """
import tint, torch
from bdray import config
from bdray.attacks.attack import Attack

attack = config.build(Attack, {"trigger": {"type": "tint", "alpha": 0.25}, "num_poisoned": 1}, "test")
print(attack.trigger.apply(torch.zeros(1, 3, 1, 1), torch.tensor([0])).flatten().tolist())
"""


def test_example_trigger(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert example
    (tmp_path / "tint.py").write_text(example[1], encoding="utf-8")
    # In a process of its own, because a trigger that is defined is registered for good.
    done = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True, check=True)
    # It is found by its type, its field is set, and it mixes in a quarter of red.
    assert done.stdout.split() == ["[0.25,", "0.0,", "0.0]"]
