"""What the console says, in Italian and English. Keys are stable words; `{name}` stands for a value.

words = Words("it")
words("tries", n=3)  ->  "3 tentativi"
"""

from __future__ import annotations

from crm.gate import SENTENCES

LANGUAGES = {"it": "Italiano", "en": "English"}

# key: (Italian, English)
TEXTS: dict[str, tuple[str, str]] = {
    "console": ("Console", "Console"),
    "skip": ("Vai al contenuto", "Skip to content"),
    "menu": ("Menu", "Menu"),
    "sign_out": ("Esci", "Sign out"),
    "sign_in": ("Entra", "Sign in"),
    "sign_in_how": (
        "Si entra con un link che vale una volta sola. Chi gestisce il server lo crea con questo comando:",
        "You get in by a link that works once. Whoever runs the server makes it with this command:",
    ),
    "sign_in_failed": (
        "Questo link non vale più: è scaduto o è già stato usato. Fattene dare uno nuovo.",
        "This link does not work any more: it is too old or was used. Ask for a new one.",
    ),
    "role_may_not": ("Il tuo ruolo non lo permette.", "Your role does not allow this."),
    "overview": ("Panoramica", "Overview"),
    "conversations": ("Conversazioni", "Conversations"),
    "contacts": ("Contatti", "Contacts"),
    "campaigns": ("Campagne", "Campaigns"),
    "posts": ("Post", "Posts"),
    "parked": ("In sospeso", "Parked"),
    # overview
    "condition": ("Come va", "How it is going"),
    "all_well": ("Tutto funziona.", "Everything works."),
    "trouble_ended": (
        "Una parte del programma si è fermata: {detail}",
        "A part of the program has ended: {detail}",
    ),
    "trouble_writer": ("La scrittura non tiene il passo: {detail}", "Writing cannot keep up: {detail}"),
    "trouble_schema": (
        "Il database è di una versione più nuova: questo processo va aggiornato",
        "The database belongs to a newer version: this process must be upgraded",
    ),
    "trouble_slow": ("Il database risponde lentamente: {detail}", "The database answers slowly: {detail}"),
    "trouble_busy": (
        "Il server è occupato: risponde con {detail} di ritardo",
        "The server is busy: it answers {detail} late",
    ),
    "trouble_disk": (
        "Spazio su disco quasi finito: {detail} liberi",
        "The disk is almost full: {detail} free",
    ),
    "trouble_late": ("Un evento aspetta da {detail}", "An event has been waiting for {detail}"),
    "trouble_parked": ("Eventi in sospeso: {detail}", "Parked events: {detail}"),
    "trouble_redis": (
        "Redis non risponde ({detail}): tutto va avanti, al più un secondo più lento",
        "Redis does not answer ({detail}): all goes on, at most a second slower",
    ),
    "trouble_channel_stopped": ("Canale fermo: {detail}", "Channel stopped: {detail}"),
    "trouble_stop": ("Il pulsante di stop è premuto.", "The stop button is pressed."),
    "open_events": ("Eventi da trattare", "Events to handle"),
    "to_send": ("Messaggi da inviare", "Messages to send"),
    "channels": ("Canali", "Channels"),
    "no_channels": ("Non c’è ancora nessun canale.", "There is no channel yet."),
    "channel": ("Canale", "Channel"),
    "kind": ("Tipo", "Kind"),
    "state": ("Stato", "State"),
    "pause": ("Metti in pausa", "Pause"),
    "start_again": ("Riavvia", "Start again"),
    "stop_button": ("Pulsante di stop", "Stop button"),
    "stop_explained": (
        "Ferma gli invii di tutta l’attività entro un secondo. Quello che arriva viene comunque accolto.",
        "Stops everything that leaves this business within a second. What comes in is still taken.",
    ),
    "stop_marketing": ("Ferma il marketing", "Stop marketing"),
    "stop_everything": ("Ferma tutto", "Stop everything"),
    "stop_is_on": ("Fermo ({what}) dal", "Stopped ({what}) since"),
    "what_marketing": ("marketing", "marketing"),
    "what_everything": ("tutto", "everything"),
    "stop_lift": ("Riprendi a inviare", "Send again"),
    "state_active": ("attivo", "active"),
    "state_stopped": ("fermo", "stopped"),
    "state_deleting": ("in eliminazione", "being deleted"),
    # contacts
    "search": ("Cerca", "Search"),
    "search_contacts": ("Nome, e-mail o telefono", "Name, e-mail or phone"),
    "no_contacts": ("Nessun contatto.", "No contacts."),
    "name": ("Nome", "Name"),
    "no_name": ("(senza nome)", "(no name)"),
    "email": ("E-mail", "E-mail"),
    "phone": ("Telefono", "Phone"),
    "language": ("Lingua", "Language"),
    "timezone": ("Fuso orario", "Time zone"),
    "fields": ("Campi", "Fields"),
    "tags": ("Etichette", "Tags"),
    "add_tag": ("Aggiungi etichetta", "Add tag"),
    "remove_tag": ("Togli {tag}", "Remove {tag}"),
    "add": ("Aggiungi", "Add"),
    "none": ("nessuno", "none"),
    "since": ("Dal", "Since"),
    "identities": ("Indirizzi", "Addresses"),
    "consents": ("Consensi", "Consents"),
    "no_consents": ("Nessun consenso registrato.", "No consent on record."),
    "purpose": ("Scopo", "Purpose"),
    "proof": ("Prova", "Proof"),
    "proof_intact": ("La catena delle prove è integra.", "The chain of proofs is intact."),
    "proof_broken": ("La catena delle prove NON è integra.", "The chain of proofs is NOT intact."),
    "wording": ("Testo mostrato", "Wording shown"),
    "version": ("Versione", "Version"),
    "source": ("Come", "How"),
    "evidence": ("Parole della persona", "The person’s own words"),
    "hash": ("Impronta", "Hash"),
    "mailable_yes": ("vale ora", "counts now"),
    "mailable_no": ("non vale", "does not count"),
    "consent_asked": ("chiesto", "asked"),
    "consent_granted": ("dato", "granted"),
    "consent_confirmed": ("confermato", "confirmed"),
    "consent_denied": ("negato", "denied"),
    "consent_withdrawn": ("revocato", "withdrawn"),
    "consent_expired": ("scaduto", "expired"),
    "consent_imported": ("importato", "imported"),
    "timeline": ("Che cosa è successo", "What happened"),
    "what": ("Che cosa", "What"),
    "when": ("Quando", "When"),
    "timeline_created": ("creato", "created"),
    "timeline_flow_started": ("flusso iniziato", "flow started"),
    "timeline_flow_ended": ("flusso finito", "flow ended"),
    "timeline_flow_failed": ("flusso interrotto da un errore", "flow failed"),
    "timeline_consent": ("consenso", "consent"),
    "timeline_opted_out": ("non vuole più novità", "opted out"),
    "timeline_preference_on": ("vuole di nuovo novità", "wants news again"),
    "timeline_blocked": ("ci ha bloccati", "has blocked us"),
    "timeline_unblocked": ("non ci blocca più", "has unblocked us"),
    "timeline_handed_over": ("affidato a una persona", "handed over to a person"),
    "timeline_handed_back": ("ridato al bot", "handed back to the bot"),
    "timeline_note": ("nota", "note"),
    "identity_reachable": ("raggiungibile", "reachable"),
    "identity_blocked": ("ci ha bloccati", "has blocked us"),
    "identity_gone": ("non c’è più", "is gone"),
    # conversations
    "no_conversations": ("Nessuna conversazione.", "No conversations."),
    "person": ("Persona", "Person"),
    "last_message": ("Ultimo messaggio", "Last message"),
    "flow": ("Flusso", "Flow"),
    "all": ("Tutte", "All"),
    "status_bot": ("risponde il bot", "the bot answers"),
    "status_human": ("risponde una persona", "a person answers"),
    "status_closed": ("chiusa", "closed"),
    "take_over": ("Rispondo io", "I answer"),
    "hand_back": ("Ridai al bot", "Hand back to the bot"),
    "stop_flow": ("Ferma il flusso", "Stop the flow"),
    "reply": ("Messaggio", "Message"),
    "send": ("Invia", "Send"),
    "messages": ("Messaggi", "Messages"),
    "no_messages": ("Nessun messaggio.", "No messages."),
    "possibly_twice": ("forse due volte", "possibly twice"),
    "author_person": ("persona", "person"),
    "author_bot": ("bot", "bot"),
    "author_campaign": ("campagna", "campaign"),
    "author_agent": ("team", "team"),
    "author_api": ("API", "API"),
    "author_job": ("automatico", "automatic"),
    # statuses of messages, outcomes of campaigns and posts
    "is_held": ("in coda", "queued"),
    "is_queued": ("in coda", "queued"),
    "is_claimed": ("in coda", "queued"),
    "is_sending": ("in invio", "being sent"),
    "is_sent": ("inviato", "sent"),
    "is_delivered": ("consegnato", "delivered"),
    "is_read": ("letto", "read"),
    "is_failed": ("non riuscito", "failed"),
    "is_skipped": ("saltato", "skipped"),
    "is_expired": ("scaduto", "expired"),
    "is_unknown": ("esito ignoto", "outcome unknown"),
    "is_received": ("ricevuto", "received"),
    "is_pending": ("da inviare", "to be sent"),
    "is_draft": ("bozza", "draft"),
    "is_scheduled": ("programmato", "scheduled"),
    "is_running": ("in corso", "running"),
    "is_paused": ("in pausa", "paused"),
    "is_finished": ("conclusa", "finished"),
    "is_cancelled": ("annullato", "cancelled"),
    # campaigns
    "no_campaigns": ("Nessuna campagna.", "No campaigns."),
    "new_campaign": ("Nuova campagna", "New campaign"),
    "campaign_to": (
        "Arriva solo a chi ha dato il consenso; decide il controllo prima di ogni invio.",
        "It reaches only people who have given consent; a check decides before every send.",
    ),
    "text": ("Testo", "Text"),
    "text_help": (
        "Puoi usare {example} per chiamare la persona per nome.",
        "You may write {example} to call people by their name.",
    ),
    "only_tag": ("Solo con l’etichetta (facoltativo)", "Only with the tag (optional)"),
    "save_draft": ("Salva bozza", "Save draft"),
    "dry_run": ("Prova a vuoto", "Dry run"),
    "step_contacts": ("Contatti", "Contacts"),
    "step_in_audience": ("Nel pubblico", "In the audience"),
    "step_reachable": ("Raggiungibili su questo canale", "Reachable on this channel"),
    "step_consented": ("Con il consenso", "With consent"),
    "step_allowed": ("Riceverebbero il messaggio ora", "Would get the message now"),
    "left_out": ("Chi resta fuori, e perché", "Who is left out, and why"),
    "reason": ("Motivo", "Reason"),
    "people": ("Persone", "People"),
    "reason_not_in_audience": ("Non fa parte del pubblico.", "Is not in the audience."),
    "reason_not_on_this_channel": (
        "Non ci scrive su questo canale.",
        "Does not write to us on this channel.",
    ),
    "reason_blocked_by_contact": ("La persona ci ha bloccati.", "The person has blocked us."),
    "reason_opted_out": ("La persona non vuole novità.", "The person does not want news."),
    "reason_rights": ("Al bot manca un permesso.", "The bot lacks a right."),
    "reason_rejected": ("La piattaforma rifiuta questo testo.", "The platform refuses this content."),
    "reason_media_invalid": ("La piattaforma rifiuta il file.", "The platform refuses the file."),
    "reason_template_invalid": ("Il modello non è valido.", "The template is not valid."),
    **{f"reason_{reason}": (said["it"], said["en"]) for reason, said in SENTENCES.items()},
    "send_campaign": ("Invia la campagna", "Send the campaign"),
    "resume": ("Riprendi", "Resume"),
    "cancel": ("Annulla", "Cancel"),
    "progress": ("Avanzamento", "Progress"),
    "total": ("Totale", "Total"),
    "outcome": ("Esito", "Outcome"),
    "done_of": ("{done} di {total}", "{done} of {total}"),
    "audience": ("Pubblico", "Audience"),
    "everybody": ("tutti", "everybody"),
    # posts
    "outlets": ("Dove si pubblica", "Where posts go"),
    "no_outlets": (
        "Nessun canale o gruppo: aggiungi il bot come amministratore di un canale Telegram.",
        "No channel or group: make the bot an administrator of a Telegram channel.",
    ),
    "new_post": ("Nuovo post", "New post"),
    "outlet": ("Dove", "Where"),
    "at": ("Quando (vuoto: ora)", "When (empty: now)"),
    "publish": ("Pubblica", "Publish"),
    "no_posts": ("Nessun post.", "No posts."),
    "outlet_channel": ("canale", "channel"),
    "outlet_group": ("gruppo", "group"),
    "outlet_supergroup": ("gruppo", "group"),
    "members": ("Membri", "Members"),
    "cancel_post": ("Annulla", "Cancel"),
    # parked
    "parked_explained": (
        "Eventi che non si sono potuti trattare dopo cinque tentativi. Risolta la causa, si riprova.",
        "Events that could not be handled after five tries. Once the cause is mended, try them again.",
    ),
    "no_parked": ("Niente in sospeso.", "Nothing is parked."),
    "problem": ("Problema", "Problem"),
    "tries": ("Tentativi", "Tries"),
    "retry": ("Riprova", "Try again"),
    "retry_all": ("Riprova tutti", "Try all again"),
    # what was done
    "done_saved": ("Salvato.", "Saved."),
    "done_sent": ("Messaggio in coda per l’invio.", "The message is queued."),
    "done_wished": ("Fatto: vale dal prossimo messaggio.", "Done: it holds from the next message on."),
    "done_stopped": ("Fermo.", "Stopped."),
    "done_lifted": ("Gli invii riprendono.", "Sending goes on."),
    "done_started": ("La campagna è partita.", "The campaign has started."),
    "done_paused": ("In pausa.", "Paused."),
    "done_resumed": ("Riprende.", "It goes on."),
    "done_cancelled": ("Annullato.", "Cancelled."),
    "done_posted": ("Post in coda.", "The post is queued."),
    "done_retried": ("Si riprova.", "Being tried again."),
    # pages
    "next_page": ("Avanti", "Next page"),
    "back": ("Indietro", "Back"),
    "error_not_found": ("Non c’è", "Not here"),
    "error_not_allowed": ("Non è permesso", "Not allowed"),
    "error_conflict": ("Ora non è possibile", "Not possible now"),
    "error_rejected": ("Qualcosa non va", "Something does not fit"),
    "error_unavailable": ("Riprova tra poco", "Try again in a moment"),
    "error_failed": ("Qualcosa è andato storto", "Something went wrong"),
}


class Words:
    """The texts in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._index = tuple(LANGUAGES).index(language)

    def __call__(self, key: str, **values: object) -> str:
        """A text; a key that is not known (a state of a newer release) is shown as it is."""
        found = TEXTS.get(key)
        if found is None:
            return key.partition("_")[2].replace("_", " ") or key
        return found[self._index].format(**values) if values else found[self._index]


def preferred(accept_language: str) -> str:
    """The first of our languages in an `Accept-Language` header, by its order; English when none is there."""
    for part in accept_language[:200].split(","):
        tag = part.partition(";")[0].strip().lower().partition("-")[0]
        if tag in LANGUAGES:
            return tag
    return "en"
