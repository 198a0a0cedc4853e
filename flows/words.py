"""Words of our own that the engine says or understands, in Italian and English. Authors may replace what is said."""

from __future__ import annotations

import re
from typing import Any

WORDS: dict[str, dict[str, Any]] = {
    # labels of buttons
    "yes": {"it": "Sì", "en": "Yes"},
    "no": {"it": "No", "en": "No"},
    "skip": {"it": "Salta", "en": "Skip"},
    "back": {"it": "Indietro", "en": "Back"},
    "confirm": {"it": "Sì, confermo", "en": "Yes, I confirm"},
    # said below a question whose place for a button is taken
    "helped": {"it": "Ti è stato utile?", "en": "Did that help?"},
    "write_score": {
        "it": "Rispondi con un numero da {first} a {last}.",
        "en": "Answer with a number from {first} to {last}.",
    },
    "or_skip": {"it": "Oppure scrivi: salta", "en": "Or write: skip"},
    "or_back": {"it": "Per tornare indietro scrivi: indietro", "en": "To go back write: back"},
    "send_phone": {"it": "Invia il mio numero", "en": "Send my number"},
    "send_location": {"it": "Invia la mia posizione", "en": "Send my location"},
    "done": {"it": "Fatto", "en": "Done"},
    # said below what a language model wrote
    "machine": {
        "it": "(Ha risposto un assistente automatico.)",
        "en": "(An automatic assistant answered.)",
    },
    # the second question of a double opt-in
    "confirm_question": {
        "it": "Per sicurezza: confermi che vuoi ricevere i nostri messaggi?",
        "en": "Just to be sure: do you confirm that you want to receive our messages?",
    },
    # what is said to an answer that does not fit; the key is `invalid.<reason>`
    "invalid.text": {"it": "Scrivimelo a parole, per favore.", "en": "Please write it in words."},
    "invalid.too_long": {
        "it": "È troppo lungo: puoi accorciarlo?",
        "en": "That is too long: could you shorten it?",
    },
    "invalid.name": {
        "it": "Come ti chiami? Scrivi solo il nome.",
        "en": "What is your name? Just the name, please.",
    },
    "invalid.email": {
        "it": "Questa e-mail non mi torna.",
        "en": "That does not look like an e-mail address.",
    },
    "invalid.phone": {
        "it": "Questo numero non mi torna. Scrivilo con il prefisso, per favore.",
        "en": "That does not look like a phone number. Please include the country code.",
    },
    "invalid.too_short": {
        "it": "È troppo corto: puoi scrivere qualcosa in più?",
        "en": "That is too short: could you write a little more?",
    },
    "invalid.number": {"it": "Mi serve un numero.", "en": "I need a number."},
    "invalid.whole": {"it": "Mi serve un numero intero.", "en": "I need a whole number."},
    "invalid.range": {"it": "Questo numero è fuori dai limiti.", "en": "That number is out of range."},
    "invalid.money": {
        "it": "Non ho capito l'importo: scrivilo per esempio 20,50 €.",
        "en": "I did not get the amount: write it, for example, €20.50.",
    },
    "invalid.currency": {
        "it": "Non è la valuta giusta: in quale valuta è l'importo?",
        "en": "That is not the right currency: which one is the amount in?",
    },
    "invalid.time": {
        "it": "Non ho capito l'ora: scrivila per esempio 15:30.",
        "en": "I did not get the time: write it, for example, 15:30.",
    },
    "invalid.datetime": {
        "it": "Non ho capito il giorno e l'ora: scrivili per esempio 5 dicembre alle 15:30.",
        "en": "I did not get the day and time: write them, for example, 5 December at 15:30.",
    },
    "invalid.no_time": {
        "it": "E a che ora? Scrivi il giorno e l'ora, per esempio domani alle 15:30.",
        "en": "And at what time? Write the day and the time, for example tomorrow at 15:30.",
    },
    "invalid.no_such_day": {
        "it": "Questo giorno non esiste: controlla la data.",
        "en": "There is no such day: please check the date.",
    },
    "invalid.no_such_time": {
        "it": "Quest'ora non esiste: controllala, per favore.",
        "en": "There is no such time: please check it.",
    },
    "invalid.mismatch": {
        "it": "Il giorno della settimana e la data non vanno d'accordo: quale dei due è giusto?",
        "en": "The weekday and the date do not go together: which one is right?",
    },
    "invalid.ambiguous": {
        "it": "Si può capire in due modi: scrivi il giorno in cifre e l'ora come 15:30 o 03:30.",
        "en": "That can be taken in two ways: write the day in figures and the time like 15:30 or 03:30.",
    },
    "invalid.past": {
        "it": "È già passato: scegli un altro momento.",
        "en": "That is over: choose another time.",
    },
    "invalid.too_early": {
        "it": "È troppo presto: scegline un altro.",
        "en": "That is too early: choose another.",
    },
    "invalid.too_late": {
        "it": "È troppo tardi: scegline un altro.",
        "en": "That is too late: choose another.",
    },
    "invalid.closed": {
        "it": "In quel momento siamo chiusi: scegline un altro, per favore.",
        "en": "We are closed then: please choose another time.",
    },
    "invalid.choices": {
        "it": "Non ho capito quali: toccale una per volta, o scrivi i numeri, per esempio 1, 3.",
        "en": "I did not get which ones: tap them one by one, or write their numbers, for example 1, 3.",
    },
    "invalid.too_few": {"it": "Sono troppo poche: scegline ancora.", "en": "Those are too few: choose more."},
    "invalid.too_many": {"it": "Sono troppe: scegline di meno.", "en": "Those are too many: choose fewer."},
    "invalid.address": {
        "it": "Non ho capito l'indirizzo: scrivilo per esempio Via Roma 10, 20121 Milano.",
        "en": "I did not get the address: write it, for example, 10 High Street, London SW1A 1AA.",
    },
    "invalid.photo": {"it": "Inviami una foto, per favore.", "en": "Please send me a photo."},
    "invalid.voice": {
        "it": "Inviami un messaggio vocale, per favore.",
        "en": "Please send me a voice message.",
    },
    "invalid.rating": {"it": "Dammi un voto in cifre, per favore.", "en": "Please give a grade in figures."},
    "invalid.postal_code": {
        "it": "Questo codice postale non mi torna.",
        "en": "That does not look like a postal code.",
    },
    "invalid.tax_code": {
        "it": "Non mi torna: servono i 16 caratteri del codice fiscale o le 11 cifre della partita IVA.",
        "en": "That does not look right: I need the 16 characters of the tax code or the 11 figures of the VAT number.",
    },
    "invalid.check_digit": {
        "it": "C'è un errore di battitura: l'ultimo carattere non torna. Ricontrollalo, per favore.",
        "en": "There is a slip in it: the last character does not match. Please check it.",
    },
    "invalid.url": {
        "it": "Questo indirizzo web non mi torna: scrivilo per esempio https://example.com.",
        "en": "That does not look like a web address: write it, for example, https://example.com.",
    },
    "invalid.date": {
        "it": "Non ho capito la data: scrivila per esempio 5 dicembre.",
        "en": "I did not get the date: write it, for example, 5 December.",
    },
    "invalid.yes_no": {"it": "Rispondi sì o no, per favore.", "en": "Please answer yes or no."},
    "invalid.choice": {
        "it": "Scegli una delle risposte, per favore.",
        "en": "Please choose one of the answers.",
    },
    "invalid.location": {"it": "Inviami la posizione, per favore.", "en": "Please send me a location."},
    "invalid.file": {
        "it": "Inviami un file o una foto, per favore.",
        "en": "Please send me a file or a photo.",
    },
    "weekdays": {
        "it": ("lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato", "domenica"),
        "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    },
    "months": {
        "it": tuple(
            "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre".split()
        ),
        "en": tuple(
            "January February March April May June July August September October November December".split()
        ),
    },
    "days_near": {
        "it": {-1: "ieri", 0: "oggi", 1: "domani", 2: "dopodomani"},
        "en": {-1: "yesterday", 0: "today", 1: "tomorrow"},
    },
    "days_ahead": {"it": "fra {} giorni", "en": "in {} days"},
    "days_ago": {"it": "{} giorni fa", "en": "{} days ago"},
}

# what people write when they mean it (folded), in any language
SKIP = frozenset(("skip", "salta"))
BACK = frozenset(("back", "indietro"))
YES = frozenset(
    "sì|si|si'|s|certo|certamente|va bene|ok|okay|d'accordo|volentieri|esatto|vero"
    "|sì grazie|si grazie|sì certo|si certo|certo che sì|certo che si|ma certo|come no|sicuro|sicuramente|senz'altro"
    "|assolutamente sì|assolutamente si|sì per favore|si per favore|sì va bene|si va bene|ok va bene|ovvio|ovviamente"
    "|esattamente|giusto|corretto|yes|y|yep|yup|yeah|sure|of course|true|yes please|yes thanks|yes thank you|sure thing"
    "|absolutely|definitely|certainly|correct|right|that's right|exactly|alright|all right|👍|👌|✅|✔|🆗".split(
        "|"
    )
)
NO = frozenset(
    "no|n|no grazie|non|nope|nah|no thanks|no thank you|mai|falso|false|per niente|certo che no|assolutamente no"
    "|direi di no|no mai|never|absolutely not|definitely not|not at all|of course not|👎|❌|✖|🚫".split("|")
)
# of several choices
ALL = frozenset("tutti|tutte|tutto|tutti quanti|tutte quante|all|all of them|everything".split("|"))
NONE = frozenset(
    "nessuno|nessuna|niente|nessuno di questi|nessuna di queste|none|nothing|none of them|none of these".split(
        "|"
    )
)
DONE = frozenset("fatto|finito|basta così|ho finito|done|finished|that's all".split("|"))

_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")  # sìììì, nooo
_TONES = dict.fromkeys((0xFE0F, *range(0x1F3FB, 0x1F400)))  # a thumb in any colour


def agrees(words: str) -> bool | None:
    """Whether somebody says yes or no; None for neither. `words` are folded, as `flows.options.plain` gives them."""
    said = _STRETCHED.sub(r"\1", words.translate(_TONES).replace("’", "'").replace(",", " ")).split()
    said = said[:1] if len(set(said)) == 1 else said  # no no
    while said:
        text = " ".join(said)
        if text in YES or text in NO:
            return text in YES
        if said[-1] not in ("grazie", "thanks", "please"):
            break
        said = said[:-1]
    return None
