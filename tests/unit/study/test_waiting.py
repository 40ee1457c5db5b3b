"""The queue of jobs gives what looking through all of them would give."""

import random
from dataclasses import dataclass
from typing import cast

import pytest

from bdray.study.plan import Job
from bdray.study.waiting import Waiting


@dataclass(frozen=True)
class Card:
    """What the queue asks of a job."""

    key: str
    needs: tuple[str, ...] = ()
    images: int = 1


def add(waiting: Waiting, card: Card, finished: set[str]) -> None:
    waiting.add(cast("Job", card), finished)


def first(cards: dict[str, Card], finished: set[str], at_hand: set[str]) -> str | None:
    """The rule, word by word: of those that may run, those that others wait for, then the costliest, then those whose
    inputs are at hand, then the first."""
    ready = [card for card in cards.values() if finished.issuperset(card.needs)]
    if not ready:
        return None
    waited_for = {need for card in cards.values() for need in card.needs}
    is_here = {card.key for card in ready if at_hand and at_hand.issuperset(card.needs)}
    return max(ready, key=lambda card: (card.key in waited_for, card.images, card.key in is_here)).key


@pytest.mark.parametrize("seed", range(20))
def test_it_agrees_with_looking_through_all_of_them(seed: int) -> None:
    draw = random.Random(seed)
    waiting, cards, running = Waiting(), dict[str, Card](), list[str]()
    finished, made = set[str](), list[Card]()
    for number in range(300):
        move = draw.random()
        if move < 0.45:  # also for jobs that run, wait, or are gone for good
            needs = {draw.choice(made).key for _ in range(draw.randint(0, 2)) if made}
            made.append(Card(f"{number}", tuple(sorted(needs)), draw.randint(1, 3)))
            cards[made[-1].key] = made[-1]
            add(waiting, made[-1], finished)
        elif move < 0.55 and cards:  # given up; some come again later
            key = draw.choice(list(cards))
            again = cards.pop(key)
            assert waiting.remove(key).key == key
            if draw.random() < 0.5:
                cards[key] = again
                add(waiting, again, finished)
        elif move < 0.75 and running:
            finished.add(key := running.pop(0))
            waiting.finish(key)
        else:
            at_hand = set(draw.sample(sorted(finished), len(finished) // 2))
            job, expected = waiting.next(at_hand), first(cards, finished, at_hand)
            # The same job in the same order, whatever came and went before.
            assert (job and job.key) == expected
            if job is not None:
                running.append(job.key)
                del cards[job.key]
        assert list(waiting.keys()) == list(cards)
        assert len(waiting) == len(cards)
    for card in made:
        assert [job.key for job in waiting.needing(card.key)] == [k for k, c in cards.items() if card.key in c.needs]


def test_a_node_goes_on_with_what_it_has() -> None:
    waiting, victims = Waiting(), {"victim 0", "victim 1"}
    for number in range(4):
        add(waiting, Card(f"defense {number}", (f"victim {number % 2}",)), victims)
    add(waiting, Card("a costly one", ("victim 0",), images=2), victims)
    given = [waiting.next({"victim 1"}) for _ in range(5)]
    # The costliest all the same; then those of the victim that is there; then the others.
    names = ["a costly one", "defense 1", "defense 3", "defense 0", "defense 2"]
    assert [job.key for job in given if job is not None] == names
