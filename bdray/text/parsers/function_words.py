"""Words that WordNet does not have, or has as something else (``a`` as vitamin A), with their tags.

The tags are those of the Penn Treebank, with one for past tense and past participle (VBN), W for all words that open
a clause, and BE for the forms of ``be``.
"""

from collections.abc import Mapping


def _tagged(**words_by_tag: str) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for tag, words in words_by_tag.items():
        for word in words.split():
            table.setdefault(word, {})[tag.replace("_", "$")] = 1.0
    return {word: {tag: 1 / len(tags) for tag in tags} for word, tags in table.items()}


FUNCTION_WORDS: Mapping[str, Mapping[str, float]] = _tagged(
    DT="""a an the this that these those each every some any no all both another either neither such many several few
       much more most other various last next same own enough half""",
    PRP_="my your his her its their our whose",
    PRP="""i you he she it we they me him her us them himself herself itself themselves myself yourself ourselves
        someone somebody something everyone everybody everything anyone anything nobody nothing""",
    CD="""zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand
       million billion first second third fourth fifth sixth seventh eighth ninth tenth""",
    BE="is are was were be been being am 're",
    MD="can could will would should may might must shall 'll 'd cannot",
    EX="there",
    TO="to",
    CC="and or but & nor plus",
    IN="""of in on at by for with from into onto upon over under above below beneath underneath between among amongst
       amid behind beside besides beyond across along alongside around about against through throughout during before
       after until towards toward inside outside off out up down past near within without via per like as than atop
       aboard despite except since versus vs opposite round unlike amidst away back""",
    W="which who whom when where while because although though if whether how what why that as whereas",
    RB="""not never very too also just still now then here together alone again ever always often already only even so
       almost away quite soon maybe perhaps backstage outdoors indoors ago n't once twice upside overhead nearby
       else yet rather sometimes usually live forward""",
    NNS="people police cattle children men women clothes",
    NN="""premiere morning evening ceiling building wedding clothing close-up
       drawing painting living dining swimming parking""",
    VBG="drawing painting living dining swimming parking",
)
