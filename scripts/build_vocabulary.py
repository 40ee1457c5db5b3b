"""Write the compact vocabulary of the ``scenes`` architectures: every token that the built-in captions can hold.

Usage: python scripts/build_vocabulary.py > bdray/models/architectures/scenes_vocabulary.txt
"""

import sys

from bdray.data import scenes
from bdray.models.tokenizer import NUM_BYTE_TOKENS, _full_tokenizer
from bdray.text.synonyms import shipped_synonyms


def main() -> None:
    """Collect words from the grammar of the captions and their shipped synonyms, and print their tokens."""
    grammar = [*scenes.NOUNS, *scenes.COLORS, *scenes.TEXTURES, *scenes.SIZES, *scenes.BACKGROUNDS, *scenes.TEMPLATES]
    grammar += [phrase for phrasings in scenes.RELATIONS.values() for phrase in phrasings] + ["an"]
    words = {word for phrase in grammar for word in phrase.replace("{}", " ").split()}
    words |= {synonym for word in words for synonym in shipped_synonyms(word)}
    full = _full_tokenizer()
    ids = {token for word in words for token in full.encode(word) if token >= NUM_BYTE_TOKENS}
    sys.stdout.write("".join(f"{full.decoder[token]}\n" for token in sorted(ids)))


if __name__ == "__main__":
    main()
