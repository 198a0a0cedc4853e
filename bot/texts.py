"""Built-in texts of the bot, Italian and English. The owner's own wording (business file, `texts`) goes first."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "stopped": {
        "it": "Va bene, non ti mandiamo più novità. Se cambi idea, scrivici quando vuoi.",
        "en": "All right, we will not send you any more news. If you change your mind, write to us any time.",
    },
    "privacy": {
        "it": "Usiamo quello che ci scrivi solo per risponderti. Novità e offerte arrivano solo se hai detto sì, "
        "e puoi scrivere STOP quando vuoi. Con /mydata vedi i tuoi dati, con /forget li cancelliamo.",
        "en": "We use what you write only to answer you. News and offers come only if you said yes, and you can write "
        "STOP at any time. /mydata shows your data, /forget deletes it.",
    },
    "mydata_soon": {
        "it": "Ecco i dati che abbiamo su di te. Il file completo arriva tra poco.",
        "en": "This is the data that we have about you. The complete file follows in a moment.",
    },
    "forget_ask": {
        "it": "Vuoi che cancelliamo tutti i tuoi dati? Non si può annullare.",
        "en": "Shall we delete all your data? This cannot be undone.",
    },
    "forget_yes": {"it": "Sì, cancella tutto", "en": "Yes, delete all"},
    "forget_no": {"it": "No", "en": "No"},
    "forget_done": {
        "it": "Fatto: tra un minuto i tuoi dati saranno cancellati. Resta solo la prova che ce l'hai chiesto.",
        "en": "Done: within a minute your data will be deleted. Only the proof that you asked for it remains.",
    },
    "forget_kept": {"it": "Va bene, resta tutto com'è.", "en": "All right, everything stays as it is."},
    "resume_ask": {
        "it": "Riprendiamo da dove eravamo rimasti?",
        "en": "Shall we go on where we left off?",
    },
    "resume_yes": {"it": "Sì, riprendiamo", "en": "Yes, go on"},
    "resume_no": {"it": "No, grazie", "en": "No, thanks"},
    "resume_dropped": {"it": "Va bene, lasciamo stare.", "en": "All right, let us leave it."},
}


_TOLD = {
    "notify": {"it": "Avviso", "en": "Notice"},
    "failed": {"it": "Un flusso si è interrotto per un errore", "en": "A flow has failed"},
    "handed_over": {"it": "Qualcuno aspetta una persona", "en": "Somebody waits for a person"},
    "unanswered": {"it": "Una domanda senza risposta", "en": "A question without an answer"},
    "not_allowed": {
        "it": "Un flusso chiama un server che non è permesso (OUTGOING_ALLOW)",
        "en": "A flow calls a server that is not allowed (OUTGOING_ALLOW)",
    },
    "no_secret": {
        "it": "A un flusso manca una chiave (passaparola secret set)",
        "en": "A flow lacks a key (passaparola secret set)",
    },
    "runaway": {
        "it": "Flussi che si avviano a vicenda: fermati",
        "en": "Flows that start one another: stopped",
    },
}


def told(kind: str, language: str) -> str:
    """What begins a message to the team, for a kind of notification."""
    return _TOLD.get(kind, _TOLD["notify"])["it" if language == "it" else "en"]


def builtin(key: str, language: str) -> str:
    """Our own wording in the language, English where we have none."""
    texts = TEXTS[key]
    return texts.get(language) or texts["en"]
