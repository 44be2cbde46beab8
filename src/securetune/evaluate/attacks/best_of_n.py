"""Best of n: the prompt is garbled at random, for every answer anew.

Source: Hughes et al. 2024 (arXiv 2412.03556), section 2: the inner letters of words of more than three are shuffled,
and the case of letters turned, each with probability sqrt(sigma), and a printable ASCII character moves to a
neighbour's code with probability sigma^3. n is `evaluate.samples`; the paper draws at temperature 1.
"""

import random
from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from securetune.evaluate.attacks.base.interface import Attack, Settings

_PRINTABLE = range(32, 127)
_WORD = 3
"""Letters of the longest word that stays as it is."""


class Strength(Settings):
    """Settings of best of n."""

    sigma: float = Field(default=0.4, ge=0, le=1)
    """How much is garbled."""


class BestOfN(Attack):
    """Random garbling."""

    paper = "Hughes et al. 2024 (arXiv 2412.03556)"
    Settings = Strength

    def prompts(self, prompts: Sequence[str]) -> list[str]:
        """Every prompt garbled, and one that comes twice in two ways; by its text and number alone."""
        seen: Counter[str] = Counter()
        found = []
        for prompt in prompts:
            found.append(garbled(prompt, self.settings.sigma, random.Random(f"best of n {seen[prompt]} {prompt}")))
            seen[prompt] += 1
        return found


def garbled(text: str, sigma: float, rng: random.Random) -> str:
    """A text after shuffling, turning and moving."""
    words = [
        _shuffled(word, rng) if len(word) > _WORD and rng.random() < sigma**0.5 else word for word in text.split(" ")
    ]
    letters = " ".join(words)
    turned = [c.swapcase() if c.isascii() and c.isalpha() and rng.random() < sigma**0.5 else c for c in letters]
    return "".join(_moved(c, rng) if ord(c) in _PRINTABLE and rng.random() < sigma**3 else c for c in turned)


def _shuffled(word: str, rng: random.Random) -> str:
    """A word with its inner letters in another order."""
    return word[0] + "".join(rng.sample(word[1:-1], len(word) - 2)) + word[-1]


def _moved(character: str, rng: random.Random) -> str:
    """A neighbour of a character, where that is printable."""
    code = ord(character) + rng.choice((-1, 1))
    return chr(code) if code in _PRINTABLE else character


attack = BestOfN
