"""What the outcome steps stand on: similar words, amounts of money, distances, codes of referrals, channels' links."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.channels.base import channel_of
from domain.contacts import ContactView
from domain.effects import RecordFeedback
from domain.ids import MAX_NODE
from flows import amounts, changes, distances, inspection, referrals
from flows.business import BusinessView
from flows.channel import ChannelView
from flows.similarity import Phrases, edits
from flows.steps.feedback import SCORES, category
from flows.steps.nearest import degrees
from tests.unit.flows.conftest import make_flow

SHOP = Phrases(
    [
        ["Quando siete aperti?", "orari", "A che ora aprite?", "When do you open?", "opening hours"],
        ["Dove siete?", "indirizzo", "Dove si trova il negozio?", "Where are you?", "address"],
        ["Quanto costa la spedizione?", "spese di spedizione", "How much is shipping?", "delivery cost"],
        ["Posso restituire un prodotto?", "resi e rimborsi", "Can I return a product?", "refund"],
        ["Come posso pagare?", "metodi di pagamento", "Accettate carte di credito?", "How can I pay?"],
    ]
)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("a che ora aprite domani mattina?", 0),
        ("siete aperti domani?", 0),
        ("ORARI!!!", 0),
        ("orarii", 0),
        ("dove vi trovate", 1),
        ("indirzzo", 1),
        ("where is the shop", 1),
        ("quanto costa spedire in Sicilia", 2),
        ("spedizoine quanto costa", 2),
        ("how much does delivery cost", 2),
        ("resituire un prodotto", 3),
        ("rimborso", 3),
        ("posso pagare con la carta?", 4),
        ("avete scarpe rosse?", -1),
        ("quanto costa il corso di cucina?", -1),
        ("ciao", -1),
        ("???", -1),
        ("", -1),
    ],
)
def test_the_question_that_is_meant(text: str, entry: int) -> None:
    """Order, endings, a typo and words around it do not matter; another question is none of them."""
    found, score = SHOP.best(text)
    assert (found if score >= 0.5 else -1) == entry, (found, score)


@given(st.text(max_size=600))
def test_any_text_can_be_compared(text: str) -> None:
    found, score = SHOP.best(text)
    assert -1 <= found < 5
    assert 0 <= score <= 1


@given(st.sampled_from(["Quando siete aperti?", "resi e rimborsi", "How can I pay?"]))
def test_a_phrase_is_itself(phrase: str) -> None:
    assert SHOP.best(phrase)[1] == pytest.approx(1)


def test_the_longest_list_is_compared_in_time() -> None:
    """A thousand phrases and a text of words that are all nearly there: below the 50 ms that a template may cost."""
    phrases = [f"parola{i}x{j} altra{j}parola{i} domanda{i * j}" for i in range(100) for j in range(10)]
    longest = Phrases([phrases[n : n + 10] for n in range(0, 1_000, 10)])
    text = " ".join(f"parola{n}y" for n in range(100))
    spent = []
    for _ in range(3):
        before = time.process_time()
        longest.best(text)
        spent.append(time.process_time() - before)
    assert min(spent) < 0.15  # three times what it takes here: slow machines are slow


def slow_edits(one: str, other: str) -> int:
    """The textbook's table, all of it."""
    table = [[n + m if not n or not m else 0 for m in range(len(other) + 1)] for n in range(len(one) + 1)]
    for n, a in enumerate(one, 1):
        for m, b in enumerate(other, 1):
            best = min(table[n - 1][m] + 1, table[n][m - 1] + 1, table[n - 1][m - 1] + (a != b))
            if n > 1 and m > 1 and a == other[m - 2] and one[n - 2] == b:
                best = min(best, table[n - 2][m - 2] + 1)
            table[n][m] = best
    return table[-1][-1]


@settings(max_examples=300)
@given(st.text("abc", max_size=8), st.text("abc", max_size=8), st.integers(1, 2))
def test_edits_are_those_of_the_whole_table(one: str, other: str, most: int) -> None:
    assert edits(one, other, most) == min(slow_edits(one, other), most + 1)


@pytest.mark.parametrize(
    ("value", "currency", "language", "found"),
    [
        (49.9, "EUR", "it", (4990, "EUR")),
        (0.1 + 0.2, "EUR", "it", (30, "EUR")),
        ("1.234,50 €", "EUR", "it", (123450, "EUR")),
        ("€ 1,234.50", "EUR", "en", (123450, "EUR")),
        ("EUR 20", "EUR", "en", (2000, "EUR")),
        (1500, "JPY", "it", (1500, "JPY")),
        (1.5, "KWD", "en", (1500, "KWD")),
        ({"amount": 20, "currency": "USD"}, "EUR", "it", (2000, "USD")),
        ({"amount": "x"}, "EUR", "it", None),
        (True, "EUR", "it", None),
        (None, "EUR", "it", None),
        ("", "EUR", "it", None),
        ("venti", "EUR", "it", None),
        (float("nan"), "EUR", "it", None),
        (1e18, "EUR", "it", None),
        ([1], "EUR", "it", None),
    ],
)
def test_amounts_in_the_smallest_unit(
    value: Any, currency: str, language: str, found: tuple[int, str] | None
) -> None:
    assert amounts.amount(value, currency, language) == found


def test_amounts_are_shown_with_their_decimals() -> None:
    assert amounts.plain(4990, "EUR") == "49.90 EUR"
    assert amounts.plain(-5, "EUR") == "-0.05 EUR"
    assert amounts.plain(1500, "JPY") == "1500 JPY"
    assert amounts.plain(1500, "KWD") == "1.500 KWD"


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        ((41.9028, 12.4964), (45.4642, 9.19), 477),  # Rome, Milan
        ((51.5074, -0.1278), (40.7128, -74.006), 5570),  # London, New York
        ((0.0, 179.9), (0.0, -179.9), 22.2),  # over the date line
        ((90.0, 0.0), (-90.0, 0.0), 20015),
        ((45.0, 9.0), (45.0, 9.0), 0),
    ],
)
def test_distances(one: tuple[float, float], other: tuple[float, float], km: float) -> None:
    assert distances.kilometres(*one, *other) == pytest.approx(km, rel=0.005)


@pytest.mark.parametrize(
    ("km", "it", "en"),
    [
        (0.0, "a 10 m", "10 m away"),
        (0.354, "a 350 m", "350 m away"),
        (0.996, "a 1,0 km", "1.0 km away"),
        (1.24, "a 1,2 km", "1.2 km away"),
        (9.96, "a 10 km", "10 km away"),
        (476.8, "a 477 km", "477 km away"),
    ],
)
def test_distances_in_words(km: float, it: str, en: str) -> None:
    assert (distances.shown(km, "it"), distances.shown(km, "en")) == (it, en)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"lat": 45, "lon": 9.5}, (45.0, 9.5)),
        ("45.46, 9.19", (45.46, 9.19)),
        ({"lat": 95, "lon": 9}, None),
        ({"lat": True, "lon": 9}, None),
        ({"lat": 45}, None),
        ("Milano, Italia", None),
        ("nan, 9", None),
        ("1,2,3", None),
        (None, None),
        (7, None),
    ],
)
def test_what_counts_as_a_location(value: Any, found: tuple[float, float] | None) -> None:
    assert degrees(value) == found


IDS = st.integers(1, (1 << 63) - 1)


@given(IDS, st.from_regex(referrals.PROGRAM, fullmatch=True))
def test_a_code_names_its_contact_and_fits_into_a_link(contact_id: int, program: str) -> None:
    """Of this program and this key alone; capital letters are forgiven."""
    made = referrals.payload("key", program, contact_id)
    assert len(made) <= 64
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert referrals.referrer("key", program, made.upper()) == contact_id
    assert referrals.referrer("another", program, made) is None
    assert referrals.referrer("key", f"x{program}"[:32], made) is None


@given(st.text(max_size=80))
def test_what_is_no_code_names_nobody(text: str) -> None:
    assert referrals.referrer("key", "summer", text) is None
    assert referrals.referrer("key", "summer", f"ref-summer-{text}") is None


def test_a_code_with_one_letter_changed_names_nobody() -> None:
    made = referrals.payload("key", "summer", (1 << 62) + MAX_NODE)
    for place in range(len("ref-summer-"), len(made)):
        other = "0" if made[place] != "0" else "1"
        assert referrals.referrer("key", "summer", made[:place] + other + made[place + 1 :]) is None


@pytest.mark.parametrize(
    ("kind", "values", "link"),
    [
        ("telegram", {"username": "bottega_bot"}, "https://t.me/bottega_bot?start=ref-x-1"),
        ("telegram", {}, ""),
        (
            "whatsapp",
            {"phone_number": "+15555550100"},
            "https://wa.me/15555550100?text=%F0%9F%91%8B%20%28ref%3Aref-x-1%29",
        ),
        ("whatsapp", {"phone_number": ""}, ""),
    ],
)
def test_links_of_channels(kind: str, values: dict[str, str], link: str) -> None:
    assert ChannelView(kind, link=channel_of(kind).link(values)).deep_link("ref-x-1") == link


def test_categories_of_scores() -> None:
    found = {kind: [category(kind, score) for score in scores] for kind, scores in SCORES.items()}
    assert found["nps"] == ["detractor"] * 7 + ["passive"] * 2 + ["promoter"] * 2
    assert found["csat"] == found["stars"] == ["bad", "bad", "neutral", "good", "good"]


def test_a_score_is_heard_once_by_triggers_whether_or_not_it_has_a_comment() -> None:
    nobody = ContactView()
    score = RecordFeedback("s", "nps", 3, "visit")
    words = RecordFeedback("s", "nps", 3, "visit", comment="Troppa attesa")
    assert [one.kind for one in changes.of_turn(nobody, nobody, [score, words])] == ["feedback"]


@pytest.mark.parametrize(
    ("steps", "triggers", "codes"),
    [
        ({"a": {"referral": "summer", "next": "end"}}, ["fallback"], ["link_without_flow"]),
        ({"a": {"referral": "summer", "next": "end"}}, [{"deep_link": "ref-summer-*"}], []),
        (
            {"a": {"referral": "summer", "next": "end"}},
            [{"deep_link": "ref-winter-*"}],
            ["link_without_flow"],
        ),
        (
            {"a": {"nearest": "business", "of": "session.deep_link", "next": "end"}},
            ["fallback"],
            ["no_places"],
        ),
        ({"a": {"feedback": "nps", "text": "?", "next": "end"}}, ["fallback"], []),
    ],
)
def test_what_inspection_says_of_outcome_steps(
    steps: dict[str, Any], triggers: list[Any], codes: list[str]
) -> None:
    """A link that starts no flow, places that are nowhere; eleven scores are written where there is no room."""
    flow = make_flow(steps, triggers=triggers)
    found = inspection.check(flow, {}, business=BusinessView(name="Shop"))
    assert [finding.code for finding in found if finding.code != "read_before_set"] == codes
