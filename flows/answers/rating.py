"""`rating`: a grade from `min` (1) to `max` (5), with a button for each where there are at most ten.

`4`, `quattro`, `4/5`, `4 su 5`, `four stars`, `⭐⭐⭐⭐`, `★★★★☆`, `4️⃣` → `4`; on a scale of five also `ottimo`,
`good`, `😍`. A grade of another scale (`8/10` where five is most) and halves are refused.
"""

from __future__ import annotations

import re

from domain.messages import Received, Tap
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of
from flows.numerals import simple, whole

MAX_INPUT = 60  # characters
LOWEST, HIGHEST = 1, 5  # where the question does not say
MOST_BUTTONS = 10  # a list of WhatsApp has ten rows

_ON_FIVE = {
    word: grade
    for grade, words in enumerate(
        (
            "pessimo|pessima|terribile|orribile|malissimo|terrible|awful|horrible|very bad|😡|🤬|😠|💩",
            "scarso|scarsa|male|insufficiente|poor|bad|not good|🙁|☹|😞|😕|👎",
            "cosi cosi|sufficiente|discreto|discreta|nella media|so so|so-so|average|fair|😐|😑",
            "buono|buona|bene|good|🙂|😊|😀|👍",
            "ottimo|ottima|eccellente|perfetto|perfetta|benissimo|fantastico|excellent|perfect|great|amazing|😍|🤩|❤",
        ),
        1,
    )
    for word in words.split("|")
}
_OUT_OF = re.compile(r"(.{1,20}?) ?(?:/| su | out of | of ) ?([0-9]{1,3}|[a-z]{3,8})\Z")
_STARS = re.compile(r"([⭐★🌟]{1,20})[☆✩]*\Z")
_STAR_WORD = re.compile(r" ?(?:stelle|stella|stars|star|stelline|punti|points|⭐|★)\Z")
_INVISIBLE = dict.fromkeys((0xFE0F, 0x20E3, 0x200D, *range(0x1F3FB, 0x1F400)))  # keycaps, skin tones


@answer
class Rating(AnswerType):
    """Gives the grade as int; the category is the grade in figures."""

    key = "rating"
    label = in_words("voto", "rating")
    reasons = ("rating", "range")
    takes = frozenset(("min", "max"))
    bounds = "number"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = received.option_id if isinstance(received, Tap) else words_of(received)
        if not text or len(text) > MAX_INPUT:
            return Invalid("rating")
        low, high = scale(reading.minimum, reading.maximum)
        grade = _read(simple(text.translate(_INVISIBLE)).strip(" .!?"), low, high)
        if grade is None:
            return Invalid("rating")
        if not low <= grade <= high:
            return Invalid("range")
        return Valid(grade, getattr(received, "title", "") or text, str(grade))


def scale(minimum: float | str | None, maximum: float | str | None) -> tuple[int, int]:
    """The lowest and the highest grade."""
    low = int(minimum) if isinstance(minimum, (int, float)) else LOWEST
    return low, int(maximum) if isinstance(maximum, (int, float)) else max(low, HIGHEST)


def _read(text: str, low: int, high: int) -> int | None:
    if (low, high) == (LOWEST, HIGHEST) and text in _ON_FIVE:
        return _ON_FIVE[text]
    if stars := _STARS.match(text):
        return len(stars[1])
    if out_of := _OUT_OF.match(text):
        return _grade(out_of[1]) if _grade(out_of[2]) == high else None
    return _grade(_STAR_WORD.sub("", text))


def _grade(text: str) -> int | None:
    return 10 if text == "🔟" else whole(text.split())
