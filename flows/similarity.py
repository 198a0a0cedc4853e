"""Which of an owner's questions somebody means: words compared without their endings, forgiving a typo.

Deterministic and offline. A phrase's words weigh by how rare they are among all phrases (a word that is everywhere says
nothing). The score of a phrase for a text is how much of the phrase is there, lowered a little by what else was said:

    score = share of the phrase found x (0.6 + 0.4 x share of the text that the phrase explains)

so 1.0 is the phrase itself, and a keyword alone inside a long sentence still counts more than half.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import islice

MAX_TEXT = 500  # characters of a text that is compared: a question, not a letter
MAX_WORDS = 20  # of it
MIN_TYPO = 4  # letters of a word in which one typo is forgiven; in twice as many, two
MAX_LOOKS = (
    80  # words that one word may be with a typo: bounds the time, far above any real list of questions
)
WEAK_WEIGHT = 0.5
TYPO_WEIGHT = 0.8  # of a word that is there with a typo

_STOP = frozenset(
    "a ad ai al alla alle allo anche avete c che chi ci come con cosa da dal dalla dei del della delle di e ed "
    "fa fate gli ha hai hanno ho i il in io l la le lo ma me mi mia mio ne nel nella no noi non o per perche piu posso "
    "potete puo quale quali quanto quel quella questa questo se sei si sia siete sono su sul sulla te ti tra tu "
    "un una uno vi voi vorrei volevo sapere dire grazie ciao salve buongiorno buonasera scusi scusa "
    "about an and any are as at be by can could do does for from get have hello hey hi how if is it its me my "
    "of on or please so tell thank thanks that the their them there they this to us want was we what which "
    "who why will with would you your".split()
)
_WEAK = frozenset(("dov", "quand", "wher", "when"))  # stems that say a little: "quando aprite", "dove siete"
_ENDINGS = (
    "zioni", "zione", "mente", "ando", "endo", "ano", "ono", "ete", "ate", "ite", "are", "ere", "ire", "ato", "ata",
    "ati", "uto", "ito", "iamo", "ings", "ing", "ies", "ed", "es", "s",
)  # fmt: skip
_VOWELS = "aeiou"


def words(text: str) -> dict[str, str]:
    """The stems of a text's words in order, each with the word, without those that say nothing; all of them when
    nothing else is left."""
    spaced = "".join(c if c.isalnum() else " " for c in _unaccented(text[:MAX_TEXT].lower()))
    found = spaced.split()[:MAX_WORDS]
    telling = [word for word in found if word not in _STOP and (len(word) > 1 or word.isdigit())]
    return {stem(word): word for word in (telling or found)}


def stem(word: str) -> str:
    """A word without a common Italian or English ending: `aprite`, `aprire` → `apr`, `prices`, `price` → `pric`."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    while len(word) > 3 and word[-1] in _VOWELS:
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] == "h" else word  # banche, banca


def edits(one: str, other: str, most: int) -> int:
    """How many letters are changed, missing, too many or swapped with their neighbour; `most` + 1 when it is more.

    Optimal string alignment, only in a band of `most` beside the diagonal."""
    far = most + 1
    if abs(len(one) - len(other)) > most:
        return far
    before: dict[int, int] = {}
    row = {at: at for at in range(min(len(other), most) + 1)}
    for n, letter in enumerate(one, 1):
        older, before, row = before, row, {}
        for m in range(max(0, n - most), min(len(other), n + most) + 1):
            if m == 0:
                row[0] = n
                continue
            cost = 0 if letter == other[m - 1] else 1
            best = min(before.get(m, far) + 1, row.get(m - 1, far) + 1, before.get(m - 1, far) + cost)
            if n > 1 and m > 1 and letter == other[m - 2] and one[n - 2] == other[m - 1]:
                best = min(best, older.get(m - 2, far) + 1)
            row[m] = min(best, far)
        if min(row.values()) > most:
            return far
    return row.get(len(other), far)


def alike(one: str, other: str) -> float:
    """1 for the same word, TYPO_WEIGHT for one with a typo, else 0."""
    if one == other:
        return 1.0
    shorter = min(len(one), len(other))
    if shorter < MIN_TYPO or one.isdigit() or other.isdigit():
        return 0.0
    most = 2 if shorter >= 2 * MIN_TYPO else 1
    return TYPO_WEIGHT if edits(one, other, most) <= most else 0.0


class Phrases:
    """Phrases that texts are compared with, each of one entry. Made once, asked often."""

    __slots__ = ("_by_initial", "_holding", "_phrases", "_rarity")

    def __init__(self, entries: Sequence[Iterable[str]]) -> None:
        read = [(n, words(phrase)) for n, entry in enumerate(entries) for phrase in entry]
        self._phrases = [(n, frozenset(phrase)) for n, phrase in read if phrase]
        self._holding: dict[str, list[int]] = {}  # word → phrases
        for number, (_, phrase) in enumerate(self._phrases):
            for word in phrase:
                self._holding.setdefault(word, []).append(number)
        total = len(self._phrases)
        self._rarity = {
            word: (1 + math.log(total / len(held))) * (WEAK_WEIGHT if word in _WEAK else 1)
            for word, held in self._holding.items()
        }
        # Typos are looked for in whole words (an ending with a typo is none), by the first letter, which few are in.
        self._by_initial: dict[str, dict[str, str]] = {}
        for _, found in read:
            for known, word in found.items():
                self._by_initial.setdefault(word[0], {})[word] = known

    def best(self, text: str) -> tuple[int, float]:
        """The entry that fits best and its score from 0 to 1, the first of equals; (-1, 0): none has a word of it."""
        said = words(text)
        there: dict[str, float] = {}  # words of phrases that were said, and how surely
        explained: dict[int, float] = {}  # phrase → how many of the words said it has
        for stemmed, word in said.items():
            of_phrase: dict[int, float] = {}
            for known, sure in self._known(stemmed, word):
                there[known] = max(sure, there.get(known, 0.0))
                for number in self._holding[known]:
                    of_phrase[number] = max(sure, of_phrase.get(number, 0.0))
            for number, sure in of_phrase.items():
                explained[number] = explained.get(number, 0.0) + sure
        found = (-1, 0.0)
        for number in sorted(explained):
            entry, phrase = self._phrases[number]
            whole = sum(self._rarity[word] for word in phrase)
            share = sum(self._rarity[word] * there.get(word, 0.0) for word in phrase) / whole
            score = share * (0.6 + 0.4 * explained[number] / len(said))
            if score > found[1] + 1e-9:
                found = (entry, score)
        return found

    def _known(self, stemmed: str, word: str) -> list[tuple[str, float]]:
        """The stems of phrases that a word may be; one that is there as it is has no typo."""
        if stemmed in self._holding:
            return [(stemmed, 1.0)]
        others = self._by_initial.get(word[0], {}).items()
        close = ((other, known) for other, known in others if abs(len(other) - len(word)) <= 2)
        near = ((known, alike(word, other)) for other, known in islice(close, MAX_LOOKS))
        return [(known, sure) for known, sure in near if sure]


def _unaccented(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
