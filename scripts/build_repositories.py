"""Write the words that counterfactual sub-captions take their replacements from, from WordNet 3.0's dictionary files.

    apt-get install wordnet-base
    python scripts/build_repositories.py

CleanerCLIP (section 3.2) has repositories of 3,000 adjectives, relations and nouns, made with WordNet and ChatGPT and
never published. Here, all come from WordNet: single words that are mostly of that part of speech, nouns and verbs only
if their most frequent sense is something to be seen, those first that both WordNet's frequency data and its
definitions have often. Names, function words and offensive words are left out. Relations are participles of verbs with
an object (``carrying``, ``carried by``), verbs of posture and motion with prepositions (``leaning against``), and
prepositions.
The license is beside the file (``WORDNET_LICENSE.txt``). File formats: wndb(5WN), cntlist(5WN), morphy(7WN).
"""

import argparse
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bdray.text.parsers.function_words import FUNCTION_WORDS
from bdray.text.words import STOP_WORDS

REPOSITORIES = Path(__file__).resolve().parents[1] / "bdray" / "text" / "data" / "repositories.json"
SIZE = 3000
"""Words of each kind, as in the paper."""

LETTERS = {"noun": "n", "verb": "v", "adj": "a"}
SENSE_KEY_LETTERS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
"""The digit after ``%`` in a sense key; 5 is an adjective that is near another in meaning."""
WORD = re.compile("[a-z]{3,}")

TOPICS = {
    "n": {"05", "06", "13", "15", "17", "18", "20", "27"},
    # animal, artifact, food, place, natural object, person, plant, substance
    "v": {"29", "30", "33", "34", "35", "36", "38", "39", "40", "41"},
    # body, change, competition, consumption, contact, creation, motion, perception, possession, social
    "a": {"00", "01", "44"},
}
TRANSITIVE_FRAMES = {"08", "09", "10", "11"}
"""``Somebody ----s something`` and its like."""
NUM_PASSIVES = 700
"""Verbs that are taken with ``by``. Of active ones there are as many as are needed."""
UNCHANGED_IN_PAST = {
    "beat",
    "burst",
    "cast",
    "cost",
    "cut",
    "hit",
    "hurt",
    "let",
    "put",
    "set",
    "shut",
    "split",
    "spread",
}
"""Verbs whose past is the verb, which WordNet's list of irregular forms leaves out."""

POSTURES = """
    standing sitting lying leaning resting hanging kneeling crouching perching floating sleeping hovering squatting
    waiting hiding dangling posing parking drifting balancing lurking grazing glowing growing looming
    """.split()  # noqa: SIM905
PLACES = (
    "above", "against", "behind", "below", "beside", "near", "on", "under", "beneath", "inside", "outside", "next to",
    "in front of", "on top of", "close to",
)  # fmt: skip
MOTIONS = """
    walking running jumping climbing crawling swimming flying riding driving sailing sliding rolling marching racing
    galloping hopping leaping jogging strolling wandering skating skiing diving cycling paddling rowing creeping
    trotting stepping falling gliding soaring tumbling dashing darting bouncing sneaking limping hiking cruising
    rushing charging dancing drifting
    """.split()  # noqa: SIM905
PATHS = (
    "across", "along", "around", "behind", "into", "onto", "over", "past", "through", "toward", "beside", "under",
    "between", "down", "up", "away from", "out of", "in front of",
)  # fmt: skip
PREPOSITIONS = (
    "above", "across", "against", "along", "among", "around", "at", "atop", "behind", "below", "beneath", "beside",
    "between", "beyond", "by", "from", "in", "inside", "into", "like", "near", "off", "on", "onto", "opposite",
    "outside", "over", "past", "through", "toward", "under", "underneath", "with", "without", "aboard", "amid",
    "in front of", "on top of", "next to", "close to", "far from", "out of", "away from", "to the left of",
    "to the right of", "in the middle of", "ahead of",
)  # fmt: skip

OFFENSIVE_USAGES = frozenset({"disparagement", "ethnic_slur", "obscenity"})
UNWANTED = frozenset(
    """
    abolitionist aborigine abuse adulterer anal assassin assassinate bastard behead bloodsucking booby brothel
    bum butcher butt carnal castrated cocaine constipate consummate contraceptive coward cripple crippled
    crucify damn damned darned deformed disembowel dismember dumb dung emasculate enslave erectile erotic
    excrement excrete execute fascist fecal feces fetus fondle freak gay genital ghetto gouge gypsy handicapped
    harem heroin hoe homo idiot imbecile impregnate indecent infidel insane kill killer lewd lunatic lunkhead
    maim maniac marijuana massacre masturbate menstrual mistress molest molester mongrel murdered murderer
    mutilate naked nazi obscene ogle opium oriental perverse pimp placenta prostitute pubescent pygmy quack
    racial racist rape rapist retard retarded savage schizophrenic seduce sexual slaughter slave spinster stab
    strangle strip suck suffocate suffragist swine tart terrorist urinate urine virgin voluptuous vomit vulgar
    whore
    """.split()  # noqa: SIM905
)
"""Words that WordNet does not mark: offensive or sexual ones, words of violence and drugs, Roman numbers."""
NO_CONTENT = STOP_WORDS | FUNCTION_WORDS.keys()
VAGUE = frozenset(
    """
    able abroad anode anti antigen area bats born broke cathode center class decade done due edge element end
    entity equal etcetera ground halfway interior item kind longer material means member middle mixture neo nuts
    object outside part particle parts piece place position product pseudo reason region section somewhere sort
    source space spot state structure surface system thing thus top type unable unit universe upstairs variable
    whatever whole world
    """.split()  # noqa: SIM905
)
"""Nouns that name nothing to be seen or too many things, and what does not read well before a noun."""


@dataclass(frozen=True)
class Synset:
    """What is needed of one line of a data file."""

    topic: str
    words: tuple[str, ...]
    """In WordNet's spelling (``Paris``, ``Italian``), with syntactic markers (``afraid(p)``)."""
    frames: frozenset[str]
    is_instance: bool
    """Whether it is a name (``everest``)."""
    usages: tuple[str, ...]
    """Offsets of the usage domains."""
    gloss: str


def build(wordnet: Path) -> dict[str, list[str]]:
    """The repositories, each sorted and of exactly :data:`SIZE` words."""
    synsets = {part: dict(_read_synsets(wordnet / f"data.{part}")) for part in LETTERS}
    common = _rank(wordnet, synsets)
    relations = itertools.chain(
        PREPOSITIONS,
        (f"{verb} {place}" for verb in POSTURES for place in PLACES),
        (f"{verb} {path}" for verb in MOTIONS for path in PATHS),
        itertools.islice(_passives(wordnet, common["v"]), NUM_PASSIVES),
        _participles(wordnet, common["v"]),
    )
    return {
        "adjectives": _first(word for word in common["a"] if word not in VAGUE),
        "relations": _first(relations),
        "nouns": _first(word for word in common["n"] if word not in VAGUE),
    }


def serialize(repositories: dict[str, list[str]]) -> str:
    """JSON with one word a line, so that a change shows as a short diff."""
    return json.dumps(repositories, indent=0) + "\n"


def _first(words: Iterable[str]) -> list[str]:
    found = list(itertools.islice(dict.fromkeys(words), SIZE))
    if len(found) < SIZE:
        raise ValueError(f"only {len(found)} words; widen TOPICS or the lists of this script.")
    return sorted(found)


def _rank(wordnet: Path, synsets: dict[str, dict[str, Synset]]) -> dict[str, list[str]]:
    """Words by part of speech, most frequent first, without those that are more often another part of speech."""
    counts, mentions = _read_counts(wordnet), _count_mentions(synsets)
    senses = {
        (row[0], LETTERS[part]): [synsets[part][offset] for offset in row[6 + int(row[3]) :]]
        for part in LETTERS
        for row in _read_rows(wordnet / f"index.{part}")
    }
    offensive = _offensive(synsets)
    ranked: dict[str, list[tuple[int, str]]] = {letter: [] for letter in LETTERS.values()}
    for (word, letter), found in senses.items():
        others = [counts[word, other] for other in LETTERS.values() if other != letter and (word, other) in senses]
        if (
            all(counts[word, letter] > count for count in others)
            and word not in offensive
            and _is_wanted(word, letter, found[0])
        ):
            frequency = (counts[word, letter] + 1) * (mentions[word] + mentions[f"{word}s"] + 1)
            ranked[letter].append((-frequency, word))
    return {letter: [word for _, word in sorted(words)] for letter, words in ranked.items()}


def _is_wanted(word: str, letter: str, sense: Synset) -> bool:
    """Whether the most frequent sense of a word is fit for captions."""
    return (
        bool(WORD.fullmatch(word))
        and word in sense.words  # not capitalized, no adjective that never precedes a noun
        and word not in NO_CONTENT
        and word not in UNWANTED
        and not sense.is_instance
        and sense.topic in TOPICS[letter]
        and (letter != "v" or bool(sense.frames & TRANSITIVE_FRAMES))
        and (letter != "a" or not re.search(r"teen$|teenth$|ty$|ieth$|fth$|xth$|nth$|dth$", word))
    )


def _participles(wordnet: Path, verbs: Iterable[str]) -> Iterator[str]:
    """Present participles: irregular ones (``running``) from WordNet, others by rule."""
    irregular = {row[1]: row[0] for row in _read_rows(wordnet / "verb.exc") if row[0].endswith("ing")}
    for verb in verbs:
        if verb in irregular:
            yield irregular[verb]
        else:
            yield re.sub(r"(?<![eoy])e$", "", verb) + "ing"


def _passives(wordnet: Path, verbs: Iterable[str]) -> Iterator[str]:
    """Past participles with ``by`` of the verbs of which WordNet lists no irregular form."""
    irregular = {row[1] for row in _read_rows(wordnet / "verb.exc")} | UNCHANGED_IN_PAST
    for verb in verbs:
        if verb not in irregular:
            yield re.sub("([^aeiou])y$", r"\1ie", verb).removesuffix("e") + "ed by"


def _offensive(synsets: dict[str, dict[str, Synset]]) -> set[str]:
    """Words with a sense that WordNet marks as offensive; they are no loss in their other senses."""
    usages = {offset for offset, synset in synsets["noun"].items() if OFFENSIVE_USAGES.intersection(synset.words)}
    marked = (synset for part in synsets.values() for synset in part.values() if usages.intersection(synset.usages))
    return {word for synset in marked for word in synset.words}


def _count_mentions(synsets: dict[str, dict[str, Synset]]) -> Counter[str]:
    """How often each word occurs in definitions, a second measure of how common it is."""
    glosses = (synset.gloss.lower() for part in synsets.values() for synset in part.values())
    return Counter(word for gloss in glosses for word in re.findall("[a-z]+", gloss))


def _read_counts(wordnet: Path) -> Counter[tuple[str, str]]:
    """Occurrences of each word as each part of speech, over its senses."""
    counts: Counter[tuple[str, str]] = Counter()
    for key, _, count in _read_rows(wordnet / "cntlist.rev"):
        word, _, sense = key.partition("%")
        counts[word, SENSE_KEY_LETTERS[sense[0]]] += int(count)
    return counts


def _read_synsets(path: Path) -> Iterator[tuple[str, Synset]]:
    for row in _read_rows(path):
        gloss_at = row.index("|")
        pointers_at = 4 + 2 * int(row[3], 16)
        frames_at = pointers_at + 1 + 4 * int(row[pointers_at])
        pointers = row[pointers_at + 1 : frames_at]
        yield (
            row[0],
            Synset(
                topic=row[1],
                words=tuple(row[4:pointers_at:2]),
                frames=frozenset(row[frames_at + 2 : gloss_at : 3]),
                is_instance="@i" in pointers[::4],
                usages=tuple(t for s, t in zip(pointers[::4], pointers[1::4], strict=True) if s == ";u"),
                gloss=" ".join(row[gloss_at:]),
            ),
        )


def _read_rows(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="latin-1").splitlines():
        if not line.startswith("  "):
            yield line.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder of dictionary files")
    REPOSITORIES.write_text(serialize(build(parser.parse_args().wordnet)), encoding="utf-8")


if __name__ == "__main__":
    main()
