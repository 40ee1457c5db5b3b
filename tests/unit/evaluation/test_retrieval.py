"""Retrieval by hand, and confusion that adds up."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bdray.evaluation.confusion import arrivals, confusion_matrix
from bdray.evaluation.metrics.base import Features
from bdray.evaluation.metrics.confusion import Confusion
from bdray.evaluation.metrics.image_text_retrieval import ImageTextRetrieval
from bdray.evaluation.retrieval import ranks
from bdray.testing import tiny_material


@dataclass
class Texts:
    """Material that knows the features of a few captions."""

    features: dict[str, list[float]]

    def texts(self, captions: list[str]) -> torch.Tensor:
        return torch.tensor([self.features[caption] for caption in captions])


def pairs(images: list[list[float]], captions: list[str], texts: dict[str, list[float]]) -> Features:
    rows = torch.tensor(images)
    return Features(
        clean=rows,
        triggered=rows,
        classes=rows,
        labels=torch.arange(len(rows)),
        target=0,
        captions=captions,
        material=Texts(texts),  # type: ignore[arg-type]
    )


def test_retrieval_by_hand() -> None:
    texts = {"east": [1.0, 0.0], "north": [0.0, 1.0], "west": [-1.0, 0.0]}
    found = ImageTextRetrieval(top_k=(1, 2)).measure(
        # The first two point where they say, the third points north-east-east but says west.
        pairs([[1.0, 0.0], [0.0, 1.0], [0.9, 0.4]], ["east", "north", "west"], texts)
    )
    # Images 1 and 2 find their text at once, image 3 finds it last.
    assert found["retrieval_image_to_text_top1"] == pytest.approx(2 / 3)
    assert found["retrieval_image_to_text_top2"] == pytest.approx(2 / 3)
    # "east" and "north" find their image first; for "west" image 2 is best (0), image 3 second (-0.9).
    assert found["retrieval_text_to_image_top1"] == pytest.approx(2 / 3)
    assert found["retrieval_text_to_image_top2"] == pytest.approx(1.0)


def test_a_caption_of_several_images_has_several_right_answers() -> None:
    texts = {"east": [1.0, 0.0], "north": [0.0, 1.0]}
    images = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]
    found = ImageTextRetrieval(top_k=(1,)).measure(pairs(images, ["east", "east", "north", "east"], texts))
    # Two texts, not four: the last image is nearer to "north"; for "east" any of three images will do.
    assert found["retrieval_image_to_text_top1"] == pytest.approx(3 / 4)
    assert found["retrieval_text_to_image_top1"] == 1.0


def test_images_without_a_caption_are_left_out() -> None:
    texts = {"east": [1.0, 0.0], "north": [0.0, 1.0]}
    found = ImageTextRetrieval(top_k=(1,)).measure(
        pairs([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], ["east", " ", "north"], texts)
    )
    # As an answer the second image would tie with the first.
    assert found == {"retrieval_image_to_text_top1": 1.0, "retrieval_text_to_image_top1": 1.0}
    nothing = ImageTextRetrieval(top_k=(1,)).measure(pairs([[1.0, 0.0]], [""], {}))
    assert all(map(math.isnan, nothing.values()))


def test_real_captions_may_be_asked_about() -> None:
    features = pairs([[1.0, 0.0]], ["a prompt"], {})
    found = ImageTextRetrieval(split="finetune", num_pairs=30).measure(replace(features, material=tiny_material()))
    # Thirty pairs of another split, whose captions say more than a class; their part in it is part of the key.
    assert ImageTextRetrieval(split="finetune").splits == ("finetune",)
    assert all(round(share * 30, 6) == round(share * 30) for name, share in found.items() if "image_to_text" in name)
    assert found["retrieval_image_to_text_top10"] >= found["retrieval_image_to_text_top1"]


def test_ties_count_half_and_nan_comes_last() -> None:
    everything_alike, nowhere = torch.ones(3, 2), torch.full((3, 2), math.nan)
    own = torch.eye(3, dtype=torch.bool)
    # A collapsed model ranks every answer in the middle, a broken one last.
    assert ranks(everything_alike, everything_alike, lambda rows: own[rows]).tolist() == [1.0, 1.0, 1.0]
    assert ranks(nowhere, nowhere, lambda rows: own[rows]).tolist() == [2.0, 2.0, 2.0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_confusion_counts_every_image_once(images: list[tuple[int, int]]) -> None:
    labels, answers = (torch.tensor(column) for column in zip(*images, strict=True))
    matrix = confusion_matrix(labels, answers, 4)
    assert int(matrix.sum()) == len(images)
    assert all(int(matrix[row, column]) == images.count((row, column)) for row in range(4) for column in range(4))
    arrived, available = arrivals(matrix)
    # What arrives at a class are wrong answers only, and all wrong answers arrive somewhere.
    assert int(arrived.sum()) == sum(label != answer for label, answer in images)
    assert available.tolist() == [sum(label != index for label, _ in images) for index in range(4)]


def test_shares_of_triggered_images_add_up(tmp_path: Path) -> None:
    eye = torch.eye(4)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    answers = torch.tensor([0, 1, 1, 3, 3, 3, 3, 0])
    features = Features(
        clean=eye[labels],
        triggered=eye[answers],
        classes=eye,
        labels=labels,
        target=3,
        class_names=["ant", "bee", "cat", "dog"],
        folder=tmp_path,
    )
    found = Confusion().measure(features)
    # Of six images that show no dog three become one, two stay and one ant becomes a bee.
    assert found["triggered_to_target"] == pytest.approx(3 / 6)
    assert found["triggered_to_true_class"] == pytest.approx(2 / 6)
    assert found["triggered_to_other"] == pytest.approx(1 / 6)
    # The sink is the target here, found without being told.
    assert found["triggered_to_sink"] == pytest.approx(3 / 6)
    table = pd.read_csv(tmp_path / "confusion.csv")
    # Both columns hold every image once; wrong answers come first, the most frequent one on top.
    assert table["clean"].sum() == table["triggered"].sum() == 8
    assert table.iloc[0].tolist() == ["cat", "dog", 0, 2]
    assert not (table["true_class"] == table["answer"])[:4].any()


def test_a_model_of_nan_is_counted_too() -> None:
    features = Features(
        clean=torch.full((5, 3), math.nan),
        triggered=F.normalize(torch.ones(5, 3), dim=1),
        classes=torch.eye(3),
        labels=torch.arange(5) % 3,
        target=1,
    )
    assert sum(list(Confusion().measure(features).values())[:3]) == pytest.approx(1.0)
