"""The gate between epochs; with real workers it is tested in tests/integration/test_stopping.py."""

from bdray.study.gate import Answers


def test_an_answer_waits_for_the_epoch_to_be_judged() -> None:
    answers = Answers()
    # Nobody has looked at the first epoch yet; then it is fine, and so is one that comes again after a restart.
    assert answers.ask("a", 1) is None
    answers.answer("a", 1, [])
    assert answers.ask("a", 1) is False
    assert answers.ask("a", 2) is None
    answers.answer("a", 3, [])
    assert answers.ask("a", 2) is False
    # Another job is another matter.
    assert answers.ask("b", 1) is None


def test_a_judgement_may_stop_several_jobs() -> None:
    answers = Answers()
    answers.answer("a", 2, ["a", "b"])
    # Whichever epoch they are in: another seed's job is told at its next question.
    assert answers.ask("a", 2) is True
    assert answers.ask("b", 7) is True
    answers.open("b")
    # A job that is begun anew, because a point needs it after all, is not stopped by what was said before.
    assert answers.ask("b", 1) is None
    assert answers.ask("a", 2) is True
