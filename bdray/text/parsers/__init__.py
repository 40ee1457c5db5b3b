"""From a caption to what it says: who or what, in which relation, to whom or what.

The built-in way: :mod:`.clauses` splits a caption into words, :mod:`.lexicon_tagger` finds their parts of speech,
:mod:`.chunks` finds phrases, and :mod:`.statements` connects these.
"""
