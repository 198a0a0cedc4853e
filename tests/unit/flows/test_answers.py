"""Phrase tables: what people write, and what each answer type makes of it."""

from __future__ import annotations

import time
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.messages import (
    MediaKind,
    Received,
    ReceivedAlbum,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedText,
    Tap,
)
from flows import business
from flows.answers import Invalid, Reading, Valid, answer_type, email, registry

TODAY = date(2026, 11, 21)  # a Saturday
NOW = 1_795_248_000_000  # 09:00 in Rome on that day


def read(kind: str, received: Received | str, *, language: str = "it", **bounds: float) -> Valid | Invalid:
    content = ReceivedText(received) if isinstance(received, str) else received
    return answer_type(kind).read(
        content, Reading(language, "IT", TODAY, bounds.get("low"), bounds.get("high"))
    )


DATES = {
    "oggi": "2026-11-21",
    "Domani": "2026-11-22",
    "dopodomani": "2026-11-23",
    "ieri": "2026-11-20",
    "5 dicembre": "2026-12-05",
    "il 5 dicembre": "2026-12-05",
    "5 dic 2026": "2026-12-05",
    "5 Dicembre, 2027": "2027-12-05",
    "1° gennaio": "2027-01-01",
    "20 novembre": "2027-11-20",
    "21 novembre": "2026-11-21",
    "29 febbraio": "2028-02-29",
    "05/12/2026": "2026-12-05",
    "5/12": "2026-12-05",
    "5.12.26": "2026-12-05",
    "05-12-2026": "2026-12-05",
    "2026-12-05": "2026-12-05",
    "venerdì": "2026-11-27",
    "venerdi prossimo": "2026-11-27",
    "venerdì prossimo": "2026-11-27",
    "lunedì prossimo": "2026-11-23",
    "sabato": "2026-11-28",
    "sabato prossimo": "2026-11-28",
    "martedi'": "2026-11-24",
    "sabato 5 dicembre": "2026-12-05",
    "sabato 5 dicembre 2026": "2026-12-05",
    "fra 3 giorni": "2026-11-24",
    "tra una settimana": "2026-11-28",
    "fra due settimane": "2026-12-05",
    "today": "2026-11-21",
    "tomorrow": "2026-11-22",
    "the day after tomorrow": "2026-11-23",
    "December 5th": "2026-12-05",
    "5th of December": "2026-12-05",
    "dec 5, 2026": "2026-12-05",
    "next friday": "2026-11-27",
    "this monday": "2026-11-23",
    "on Tuesday": "2026-11-24",
    "in 3 days": "2026-11-24",
    "in a week": "2026-11-28",
    "3 days from now": "2026-11-24",
}
NO_DATES = [
    "", "boh", "domani alle 15", "il mese prossimo", "31 febbraio", "32/12", "12/32", "2026-13-01", "5", "dicembre",
    "lunedì martedì", "venerdì 5 dicembre 2026", "fra 99999 giorni", "5 dicembre 5", "29/02/2027", "0/0", "99/99/9999",
    "5 dicembre 2026 2027", "in molti giorni", "x" * 61,
]  # fmt: skip


@pytest.mark.parametrize(("said", "day"), DATES.items())
def test_dates(said: str, day: str) -> None:
    """A day in words or figures is understood, in both languages whatever the session's."""
    assert read("date", said) == Valid(day, said)


@pytest.mark.parametrize("said", NO_DATES)
def test_no_dates(said: str) -> None:
    """What is not understood wholly is refused, never guessed."""
    assert isinstance(read("date", said), Invalid)


EMAILS = {
    "anna@example.com": "anna@example.com",
    " Anna.Rossi+news@Example.COM ": "Anna.Rossi+news@example.com",
    "la mia mail è anna@example.com.": "anna@example.com",
    "<anna@example.org>": "anna@example.org",
    "mailto:anna@example.com": "anna@example.com",
}


@pytest.mark.parametrize(("said", "address"), EMAILS.items())
def test_emails(said: str, address: str) -> None:
    """An address is found and put in order."""
    found = read("email", said)
    assert isinstance(found, Valid)
    assert found.value == address


@pytest.mark.parametrize(
    "said",
    ["anna", "anna@@example", "anna@", "@example.com", "a@b", "anna@example..com", "a@example.com b@example.com",
     "anna@localhost", "anna@-example.com", "a b@example .com", "x" * 400 + "@example.com", "@" * 500],
)  # fmt: skip
def test_no_emails(said: str) -> None:
    """What is no address, or two, is refused."""
    assert read("email", said) == Invalid("email")


PHONES = {
    "333 1234567": "+393331234567",
    "+39 333 123 4567": "+393331234567",
    "0039 333 1234567": "+393331234567",
    "06 6988 1234": "+390669881234",
    "+44 7700 900123": "+447700900123",
    "+1 (212) 555-0123": "+12125550123",
}


@pytest.mark.parametrize(("said", "number"), PHONES.items())
def test_phones(said: str, number: str) -> None:
    """Numbers become E.164; without a country code they are the business's country's."""
    assert read("phone", said) == Valid(number, said)


@pytest.mark.parametrize("said", ["", "boh", "123", "+39 12", "333 12345678901234", "+999 1234567", "1" * 80])
def test_no_phones(said: str) -> None:
    """What cannot be called is refused."""
    assert read("phone", said) == Invalid("phone")


def test_phone_cards() -> None:
    """A card counts; only one that the platform vouches for is verified."""
    assert read("phone", ReceivedContact("447700900123", own=True)) == Valid(
        "+447700900123", "+447700900123", "verified"
    )
    assert read("phone", ReceivedContact("+447700900123")) == Valid("+447700900123", "+447700900123", "valid")
    assert read("phone", ReceivedContact(None)) == Invalid("phone")


@pytest.mark.parametrize(
    ("said", "language", "value"),
    [
        ("3", "it", 3), ("-2", "it", -2), ("3,5", "it", 3.5), ("3.5", "it", 3.5), ("1.000", "it", 1000),
        ("1.234,50", "it", 1234.5), ("1.234.567", "it", 1234567), ("1,000", "en", 1000), ("1,234.50", "en", 1234.5),
        ("3,5", "en", 3.5), ("due", "it", 2), ("ten", "en", 10), ("€ 20", "it", 20), ("1 000", "it", 1000),
        ("007", "it", 7),
    ],
)  # fmt: skip
def test_numbers(said: str, language: str, value: Any) -> None:
    """Numbers are read as they are written in the language."""
    found = read("number", said, language=language)
    assert isinstance(found, Valid)
    assert found.value == value
    assert type(found.value) is type(value)


@pytest.mark.parametrize(
    "said", ["", "molti", "1e9", "nan", "inf", "0x10", "1,2,3.4.5", "--3", "9" * 50, "٣"]
)
def test_no_numbers(said: str) -> None:
    """What is no number is refused."""
    assert isinstance(read("number", said), Invalid)


def test_number_bounds() -> None:
    """Out of range has its own reason."""
    assert read("number", "11", low=1, high=10) == Invalid("range")
    assert read("number", "0", low=1) == Invalid("range")
    assert read("number", "10", low=1, high=10) == Valid(10, "10")


@pytest.mark.parametrize(
    "said", ["sì", "Si", "SÌ!", "certo", "va bene", "ok", "yes", "Yep.", "of course", "👍", "1"]
)
def test_yes(said: str) -> None:
    """People say yes in many ways."""
    found = read("yes_no", said)
    assert isinstance(found, Valid)
    assert (found.value, found.category) == (True, "yes")


@pytest.mark.parametrize("said", ["no", "No!", "no, grazie".replace(",", ""), "nope", "no thanks", "👎", "2"])
def test_no(said: str) -> None:
    """And no in some."""
    found = read("yes_no", said)
    assert isinstance(found, Valid)
    assert (found.value, found.category) == (False, "no")


def test_neither_yes_nor_no() -> None:
    """Anything else is asked again."""
    for said in ("forse", "sì e no", "", "non so"):
        assert read("yes_no", said) == Invalid("yes_no")
    assert read("yes_no", Tap("yes", "Sì")) == Valid(True, "Sì", "yes")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("anna", "Anna"), ("mi chiamo anna rossi", "Anna Rossi"), ("Sono Marco", "Marco"), ("I'm Ann", "Ann"),
        ("MARIA  d'Angelo", "MARIA d'Angelo"), ("Łukasz Żółć", "Łukasz Żółć"), ("王小明", "王小明"),
        ("Jean-Luc", "Jean-Luc"), ("O’Brien.", "O’Brien"), ("Nicolò", "Nicolò"),
    ],
)  # fmt: skip
def test_names(said: str, name: str) -> None:
    """Names are tidied, not corrected."""
    assert read("name", said) == Valid(name, said)


@pytest.mark.parametrize("said", ["", "123", "anna@example.com", "http://x", "<b>", "😀", "x" * 150, "..."])
def test_no_names(said: str) -> None:
    """What is no name is refused."""
    assert read("name", said) == Invalid("name")


def test_text() -> None:
    """Words are taken as they are, trimmed, in NFC, without what no database holds."""
    assert read("text", "  ciao  ") == Valid("ciao", "ciao")
    assert read("text", "e\u0301\x00\ud800") == Valid("é\ufffd\ufffd", "é\ufffd\ufffd")
    assert read("text", "   ") == Invalid("text")
    assert read("text", Tap("x", "X")) == Invalid("text")
    assert read("text", "x" * 4_001) == Invalid("too_long")
    assert read("text", "ab", low=3) == Invalid("too_short")
    assert read("text", "abcd", high=3) == Invalid("too_long")


def test_location_and_file() -> None:
    """Places and files come as plain values."""
    place = read("location", ReceivedLocation(41.9, 12.5, name="Bar"))
    assert place == Valid({"lat": 41.9, "lon": 12.5, "name": "Bar"}, "Bar")
    assert read("location", ReceivedLocation(91, 0)) == Invalid("location")
    assert read("location", "via Roma 1") == Invalid("location")
    photo = ReceivedMedia(MediaKind.image, "id-1", mime="image/jpeg", size=5)
    expected = {"kind": "image", "platform_id": "id-1", "mime": "image/jpeg", "size": 5}
    assert read("file", photo) == Valid(expected, "image", "image")
    assert read("file", ReceivedAlbum((photo, photo))) == Valid(expected, "image", "image")
    assert read("file", ReceivedAlbum(())) == Invalid("file")
    assert read("file", "foto") == Invalid("file")


def test_photos_and_voices_are_files_of_their_kind() -> None:
    """An uncompressed picture is a photo, too; a voice message is none."""
    photo = ReceivedMedia(MediaKind.image, "id-1")
    scan = ReceivedMedia(MediaKind.document, "id-2", mime="image/png", filename="scan.png")
    letter = ReceivedMedia(MediaKind.document, "id-3", mime="application/pdf")
    voice = ReceivedMedia(MediaKind.voice, "id-4", mime="audio/ogg")
    assert read("photo", photo) == Valid({"kind": "image", "platform_id": "id-1"}, "image", "image")
    assert isinstance(read("photo", scan), Valid)
    assert read("photo", letter) == read("photo", voice) == Invalid("photo")
    assert read("photo", ReceivedAlbum((photo, scan))) == read("photo", photo)
    assert read("voice", voice) == Valid(
        {"kind": "voice", "platform_id": "id-4", "mime": "audio/ogg"}, "voice", "voice"
    )
    assert read("voice", photo) == Invalid("voice")


def test_a_shared_place_with_its_address_is_an_address() -> None:
    """One without is not: nothing is looked up."""
    place = ReceivedLocation(45.46, 9.19, address="Via Roma 10, 20121 Milano")
    found = read("address", place)
    assert isinstance(found, Valid)
    assert found.value == {
        "line": "Via Roma 10", "postal_code": "20121", "city": "Milano", "country": "IT", "lat": 45.46, "lon": 9.19,
    }  # fmt: skip
    assert read("address", ReceivedLocation(45.46, 9.19)) == Invalid("address")


def test_a_code_says_what_it_is() -> None:
    """A person's code and a firm's number share the question; the category tells them apart."""
    assert read("tax_code", "RSSMRA85T10A562S") == Valid(
        "RSSMRA85T10A562S", "RSSMRA85T10A562S", "codice_fiscale"
    )
    assert read("tax_code", "12345678903") == Valid("12345678903", "12345678903", "partita_iva")


def test_every_other_check_character_is_refused() -> None:
    """One wrong sign is always noticed in a tax code, one wrong figure always in a VAT number."""
    for letter in "ABCDEFGHIJKLMNOPQRTUVWXYZ":
        assert read("tax_code", f"RSSMRA85T10A562{letter}") == Invalid("check_digit")
    for figure in "012456789":
        assert read("tax_code", f"1234567890{figure}") == Invalid("check_digit")


@given(st.integers(0, 999_999_999_999), st.integers(0, 99))
def test_amounts_are_exact_to_the_cent(euros: int, cents: int) -> None:
    """What was written comes back from the JSON number, in the Italian and in the English way of writing."""
    for language, written in (
        ("it", f"{euros:,}".replace(",", ".") + f",{cents:02} €"),
        ("en", f"€{euros:,}.{cents:02}"),
    ):
        found = read("money", written, language=language)
        assert isinstance(found, Valid)
        assert round(found.value["amount"] * 100) == euros * 100 + cents
        assert Decimal(repr(found.value["amount"])) == Decimal(euros) + Decimal(cents) / 100


@given(st.integers(0, 999_999_999))
def test_italian_number_words_mean_their_number(value: int) -> None:
    """Every number that is spelled by the rules of Italian is read back."""
    assert read("integer", italian(value)) == Valid(value, italian(value))


def italian(value: int) -> str:
    """The number in words, by the rules of Italian spelling."""
    small = (
        "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici "
        "diciassette diciotto diciannove"
    ).split()
    if value < 20:
        return small[value]
    if value < 100:
        ten = "venti trenta quaranta cinquanta sessanta settanta ottanta novanta".split()[value // 10 - 2]
        unit = value % 10
        return (ten[:-1] if unit in (1, 8) else ten) + (("tré" if unit == 3 else small[unit]) if unit else "")
    if value < 1_000:
        start = ("" if value < 200 else small[value // 100]) + "cento"
        return start + (italian(value % 100) if value % 100 else "")
    if value < 1_000_000:
        start = "mille" if value < 2_000 else italian(value // 1_000).replace("tré", "tre") + "mila"
        return start + (italian(value % 1_000) if value % 1_000 else "")
    start = "un milione" if value < 2_000_000 else f"{italian(value // 1_000_000)} milioni"
    return f"{start} {italian(value % 1_000_000)}" if value % 1_000_000 else start


def test_every_type_answers_hostile_input_quickly() -> None:
    """Whatever is sent, each type answers at once and never raises."""
    hostile: list[Received | str] = [
        "", "\x00", "\ud800", "9" * 100_000, "a@" * 50_000, "١٢/٣/٤", "²", "½", "-" * 1_000, "(" * 10_000,
        "1/1/" * 1_000, " " * 100_000, "{{ x }}", "\u202e", "²/²/²²²²",
        Tap("", ""), ReceivedContact("", own=True), ReceivedLocation(float("nan"), float("inf")),
    ]  # fmt: skip
    for kind in registry():
        for item in hostile:
            started = time.perf_counter()
            assert isinstance(read(kind, item), (Valid, Invalid))
            assert time.perf_counter() - started < 1.0  # seconds; the first one loads a library


@settings(max_examples=300, deadline=None)
@given(
    name=st.from_regex(r"[A-Za-z0-9._+\-'àß]{1,66}", fullmatch=True),
    domain=st.one_of(
        st.sampled_from(
            ["example.com", "Example.ORG", "example", "localhost", "x.test", "a..b", "-a.it", "münchen.de"]
        ),
        st.from_regex(r"[a-zA-Z0-9.\-ß]{1,70}", fullmatch=True),
        st.integers(180, 260).map(lambda n: "a." * (n // 2) + "it"),
    ),
)
def test_addresses_with_a_domain_seen_before_mean_what_the_library_says(name: str, domain: str) -> None:
    address = f"{name}@{domain}"
    assert email._normal(address) == email._validated(address)


@pytest.mark.parametrize(
    ("kind", "words", "fits"),
    [
        ("datetime", "lunedì alle 10", True),
        ("datetime", "lunedì alle 14:00", False),
        ("datetime", "lunedì alle 13:00", False),  # the hour at which they close
        ("datetime", "domani alle 10", False),  # a Sunday
        ("date", "lunedì", True),
        ("date", "domani", False),
    ],
)
def test_opening_hours_bound_days_and_moments(kind: str, words: str, fits: bool) -> None:
    """With `open: true` only what falls into the business's hours, on its own clock; without any hours everything."""
    shop = business.sample()
    rome = Reading("it", "IT", TODAY, now=NOW, zone=ZoneInfo("Europe/Rome"), opening=shop)
    found = answer_type(kind).read(ReceivedText(words), rome)
    assert isinstance(found, Valid) if fits else found == Invalid("closed")
    anywhere = rome._replace(opening=msgspec.structs.replace(shop, opening_hours={}))
    assert isinstance(answer_type(kind).read(ReceivedText(words), anywhere), Valid)


def test_opening_hours_are_those_of_the_business_elsewhere() -> None:
    """Four in the morning in New York is ten in Rome."""
    there = Reading("en", "IT", TODAY, now=NOW, zone=ZoneInfo("America/New_York"), opening=business.sample())
    assert isinstance(answer_type("datetime").read(ReceivedText("monday at 4 am"), there), Valid)


@pytest.mark.parametrize("words", ["lunedì alle 4", "monday at 4", "lunedì alle 4 e mezza"])
def test_of_two_hours_the_open_one_is_meant(words: str) -> None:
    """Nobody comes at four in the morning; where no hours are known it is asked again."""
    rome = Reading("it", "IT", TODAY, now=NOW, zone=ZoneInfo("Europe/Rome"), opening=business.sample())
    found = answer_type("datetime").read(ReceivedText(words), rome)
    assert isinstance(found, Valid)
    assert found.value.startswith("2026-11-23T16:")
    assert answer_type("datetime").read(ReceivedText(words), rome._replace(opening=None)) == Invalid(
        "ambiguous"
    )
