"""Words of our own that the engine says or understands, in Italian and English. Authors may replace what is said."""

from __future__ import annotations

from typing import Any

WORDS: dict[str, dict[str, Any]] = {
    # labels of buttons
    "yes": {"it": "Sì", "en": "Yes"},
    "no": {"it": "No", "en": "No"},
    "skip": {"it": "Salta", "en": "Skip"},
    "back": {"it": "Indietro", "en": "Back"},
    "confirm": {"it": "Sì, confermo", "en": "Yes, I confirm"},
    # said below a question whose place for a button is taken
    "or_skip": {"it": "Oppure scrivi: salta", "en": "Or write: skip"},
    "or_back": {"it": "Per tornare indietro scrivi: indietro", "en": "To go back write: back"},
    "send_phone": {"it": "Invia il mio numero", "en": "Send my number"},
    "send_location": {"it": "Invia la mia posizione", "en": "Send my location"},
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
    "invalid.number": {"it": "Mi serve un numero.", "en": "I need a number."},
    "invalid.range": {"it": "Questo numero è fuori dai limiti.", "en": "That number is out of range."},
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
}

# what people write when they mean it (folded), in any language
SKIP = frozenset(("skip", "salta"))
BACK = frozenset(("back", "indietro"))
YES = frozenset(
    "sì|si|si'|s|certo|certamente|va bene|ok|okay|d'accordo|volentieri|esatto|vero"
    "|yes|y|yep|yeah|sure|of course|true|👍|✅".split("|")
)
NO = frozenset("no|n|no grazie|non|nope|nah|no thanks|no thank you|mai|falso|false|👎|❌".split("|"))
