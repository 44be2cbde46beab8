"""Language: in which language are these texts, as far as script and small words tell?"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

UNKNOWN = "unknown"
"""Too little text, or none of the languages below."""
_SCRIPTS = {
    "CYRILLIC": "Cyrillic script", "GREEK": "Greek", "ARABIC": "Arabic script", "HEBREW": "Hebrew",
    "DEVANAGARI": "Devanagari script", "THAI": "Thai", "HANGUL": "Korean", "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese", "CJK": "Chinese characters",
}  # fmt: skip
_SMALL_WORDS = {
    "English": "the and is are you to of that this with for can i'm it not here your what",
    "German": "der die das und ist nicht ich ein eine zu mit für wie sie auf kann nichts leider",
    "French": "le les des et est une je vous ne pas pour dans que ce avec suis sur du",
    "Spanish": "el los las y es una que no para con por lo se puedo en como del su",
    "Italian": "il gli e è una che non per con di posso sono come mi questo della le si",
    "Portuguese": "o os as e é uma que não para com por posso em como do da isso você",
    "Dutch": "de het een en is niet ik dat voor met van op te kan zijn dit maar deze",
}
_WORDS = {language: frozenset(words.split()) for language, words in _SMALL_WORDS.items()}
_LEAST = 0.05
"""Of the words of a text, the share that a language's small words have to make up for it to count as that language."""


def language(texts: Sequence[str]) -> str:
    """The language that most of the texts together are in; of scripts that several languages share, the script."""
    text = " ".join(texts).lower().replace("’", "'")
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
    if not scripts:
        return UNKNOWN
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > scripts["CJK"] / 10 and scripts["HIRAGANA"]:
        return "Japanese"
    script = scripts.most_common(1)[0][0]
    if script != "LATIN":
        return _SCRIPTS.get(script, UNKNOWN)
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text)
    hits = {name: sum(word in small for word in words) for name, small in _WORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] >= max(1, _LEAST * len(words)) else UNKNOWN
