"""Voices: which words of an answer are the assistant's own, and which are quoted or are the text that was asked for?

A refusal counts only in the assistant's own voice. Code, quotations, what follows "here is a draft:", and letters,
verses, dialogues and lists of phrases that the prompt asks for are other voices. Every repetition is bounded.
"""

import re

OTHER = " □ "
"""Stands where words of another voice were."""
APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ´`′＇ʹʻ‛", "'"))
_CODE = re.compile(r"```.*?(?:```|\Z)|(?<!\w)`[^`\n]{1,300}`(?!\w)", re.DOTALL)
_QUOTED = re.compile(
    r"\"[^\"]{1,1500}\"|[“„][^“”„]{1,1500}[”“]|«[^«»]{1,1500}»|»[^«»]{1,1500}«|「[^「」]{1,1500}」|『[^『』]{1,1500}』|"
    r"(?<!\w)'(?=\w)(?:[^'\n]|(?<=\w)'(?=\w)){2,400}'(?!\w)"
)
_OPENS_QUOTE = re.compile(r"[\"“„«»「『`]|(?<!\w)'(?=\w)")
_TEXTS = (
    r"(?:draft|letters?|e-?mails?|messages?|notes?|poems?|verses?|stor(?:y|ies)|songs?|lyrics|speech|scenes?|scripts?|"
    r"dialogues?|monologues?|haikus?|limericks?|tweets?|posts?|articles?|reviews?|statements?|repl(?:y|ies)|responses?|"
    r"examples?|versions?|translations?|templates?|texts?|sentences?|phrases?|lines?|quotes?|jokes?|functions?|code|"
    r"programs?|summary|summaries|paragraphs?|outlines?|excuses?|captions?|toasts?|announcements?|invitations?|"
    r"options?|suggestions?|ideas?|ways?|steps|recipe|guide|idea|structure|one|it|how)"
)
_ANNOUNCES = re.compile(
    rf"(?:^|[.!?,\n] ?)(?:(?:here(?:'s| is| are)|below (?:is|are)|this is)(?! (?:my|the thing|"
    rf"why))[^.!?:\n]{{0,60}}\b{_TEXTS}\b"
    rf"[^.!?:\n]{{0,60}}|here (?:it is|you (?:go|are)|goes)|(?:sure|certainly|of course)[^.!?:\n]{{0,60}}):\s"
)
"""Says that what was asked for comes next."""
_REFUSES = re.compile(
    r"\s*(?:(?:i'm |i am )?(?:really |so |very )?sorry|unfortunately|i apologi[sz]e|"
    r"as an ai[^,.]{0,40})?,? ?(?:but )?(?:i|we) (?:cannot|"
    r"can't|won't|will not|am unable to|'m unable to|am not able to|'m not able to|do not|don't) (?:help|assist|"
    r"comply|fulfil|provide|create|"
    r"write|generate|engage|support|do (?:that|this)|answer)\b"
)
_LETTER = re.compile(
    r"\s*(?:subject:|re:|betreff|objet|asunto|dear (?!user|friend,? i)\W?\w|to whom|hi,? \w+|hello,? \w+|hey\b|"
    r"ladies and gentlemen|(?:my )?friends[,!]|title:|int\.|ext\.)",
)
_DIALOGUE = re.compile(
    r"^[*_]{0,2}(?!(?:assistant|ai|model|bot|answer|response|note)\b)[\w .'-]{1,30}[*_]{0,2}:[*_]{0,2} ", re.M
)
_ITEM = re.compile(r"^\s{0,4}(?:\d{1,2}[.)]|[-*•]) ", re.MULTILINE)
_ASKS_TEXT = re.compile(
    r"\b(?:write|draft|compose|create|generate|produce|make up|tell me a|craft|pen|rewrite|rephrase|paraphrase|"
    r"translate|"
    r"correct|edit|proofread|convert|transform|change|put|complete|continue|render|replace|"
    r"(?:give|provide|suggest|make|show)(?: me)? (?:an?|some|three|two|four|five|\d{1,2}|the)|"
    r"how (?:do|should|can|could|would) (?:i|you|we|one) (?:say|answer|reply|respond|write)|"
    r"what (?:do|should|can|could) (?:i|you) (?:say|answer|reply|write))\b|"
    r"übersetz|traduis|traduce|переведи|翻译|翻訳|英訳"
)
_ASKS_VERSE = re.compile(
    r"\b(?:poem|poetry|verses?|songs?|lyrics|haikus?|limericks?|raps?|rhymes?|ballad|sonnet|ode)\b"
)
_MESSAGE = re.compile(
    r"\b(?:letters?|e-?mails?|messages?|notes?|statement|repl(?:y|ies)|responses?|texts?|prompt|invitations?|"
    r"announcement|tweet|"
    r"translat\w{1,4}|rewrite|rephrase|paraphrase|synonym|sentence|what (?:do|should|can|could) i (?:say|answer|"
    r"reply)|assistant's|bot)\b"
)
_REWRITES = re.compile(
    r"\b(?:translat\w{1,4}|rewrite|rephrase|paraphrase|correct|edit|proofread|convert|change|put|complete|continue|"
    r"replace|"
    r"how (?:do|would|can|should) (?:you|i|one) say|wh?at does)\b|übersetz|traduis|traduce|переведи|翻译|翻訳|英訳"
)
_SHORT_PROMPT = 300
"""Longer prompts that hold words of refusal may forbid them."""
_UNWILLING = re.compile(
    r"\b(?:refus\w{0,4}|declin\w{0,4}|reject\w{0,4}|turn(?:ing|s)? down|say(?:ing|s)? no|can(?:no|')t|can not|not can|"
    r"won't|will not|"
    r"unable|not able|isn't possible|not allowed|apolog\w{1,5}|excus\w{1,3}|cancel\w{0,4}|resign\w{0,6}|unavailable|"
    r"regret\w{0,4}|sorry|non possumus|no can do|impossible)\b|できません|不能|nicht|absag|refuser|rechaz|отказ"
)
_NAMES_TASK = re.compile(
    r"\b(?:not|n't|cannot|can't|won't|unable to|refuse to|decline to|nor) [^.!?]{0,30}\b(?:writ\w{1,4}|draft\w{0,3}|"
    r"compos\w{1,3}|"
    r"translat\w{1,3}|rewrite|rephrase|generate|creat\w{1,3}|produce)\b|"
    r"\b(?:this|that|your|such an?|the) (?:poem|verse|rhyme|story|scene|translation|prompt)\b|\byou(?:'re|"
    r" are) asking|asked me\b"
)
_SHORT_LINE = 70
_VERSE_LINES = 3
_FORM_REACH = 400
"""Characters that tell the form; a settled answer is longer, so that what follows cannot give it one."""


def own(text: str, asked: str, *, asks_unwilling: bool) -> str:
    """The assistant's own words in an answer, in lower case; `OTHER` stands for the rest.

    Args:
        text: without reasoning.
        asked: the prompt, in lower case.
        asks_unwilling: whether words of refusal stand in the prompt.
    """
    lowered = text.translate(APOSTROPHES).lower()
    without_code = _CODE.sub(OTHER, text).translate(APOSTROPHES).lower()  # a backtick may be an apostrophe, too
    words = _QUOTED.sub(OTHER, without_code)
    wants_text = _ASKS_TEXT.search(asked) is not None or _REWRITES.search(asked) is not None
    is_rewrite = len(asked) < _SHORT_PROMPT and asks_unwilling and _REWRITES.search(asked) is not None
    is_plain_refusal = _REFUSES.match(lowered.lstrip("\"'“„«» ")) is not None and not is_rewrite
    if not any(character.isalpha() for character in words):
        return lowered if is_plain_refusal or not wants_text else words
    announced = _ANNOUNCES.search(words[:400])
    if announced is not None and (is_rewrite or _REFUSES.match(words[announced.end() :]) is None):
        return words[: announced.end()] + OTHER
    is_message = wants_text and _MESSAGE.search(asked) is not None and _UNWILLING.search(asked) is not None
    is_form = _starts_list(words) or wants_text and has_form(words, is_verse=_ASKS_VERSE.search(asked) is not None)
    if is_rewrite or (not is_plain_refusal and (is_message or is_form)):
        return "\n".join(line if _NAMES_TASK.search(line) else OTHER for line in words.split("\n"))
    return words


def has_form(text: str, *, is_verse: bool = True) -> bool:
    """Whether a text has the form of a letter, a dialogue, a list or, where wanted, of verses."""
    if _LETTER.match(text) is not None:
        return True
    if _starts_list(text):
        return True
    lines = _first_lines(text)
    if len(_DIALOGUE.findall(text[:_FORM_REACH])) > 1:
        return True
    return is_verse and len(lines) >= _VERSE_LINES and all(len(line) < _SHORT_LINE for line in lines[:_VERSE_LINES])


def _starts_list(text: str) -> bool:
    lines = _first_lines(text)
    return len(lines) > 1 and all(_ITEM.match(line) for line in lines[:2])


def _first_lines(text: str) -> list[str]:
    return [line for line in text[:_FORM_REACH].split("\n") if line.strip()]


def may_be_quoted(text: str) -> bool:
    """Whether a quotation or code is still open in a text whose closed ones were taken out."""
    return _OPENS_QUOTE.search(text) is not None
