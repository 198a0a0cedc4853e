// What the page says, in both languages; `say(key)` gives the current one.

const WORDS = {
  it: {
    title: "Telefono di prova", intro: "Scrivi come farebbe un cliente. Nessun messaggio lascia questo computer.",
    other: "English", otherCode: "en", writeTo: "Scrivi a", youAre: "Tu sei", newPerson: "Nuova persona", more: "Altro",
    attach: "Allega", message: "Messaggio", send: "Invia", name: "Nome", phone: "Telefono",
    phoneHint: "Vuoto: un numero inventato.", cancel: "Annulla", create: "Crea", close: "Chiudi",
    nobody: "Qui non c'è ancora nessuno a cui scrivere. Appena un bot o un numero si collega, compare da solo.",
    empty: "Nessun messaggio. Scrivi qualcosa per cominciare.", emptyChannel: "Il canale non ha ancora messaggi.",
    bots: "Bot di Telegram", numbers: "Numeri WhatsApp", channels: "Canali e gruppi di Telegram", start: "Avvia",
    typing: "sta scrivendo…", photo: "Foto di prova", file: "Un file", location: "Posizione", contact: "Il mio contatto",
    block: "Blocca", unblock: "Sblocca", stopMarketing: "Basta promozioni", resumeMarketing: "Di nuovo promozioni",
    phoneOff: "Spegni il telefono", phoneOn: "Accendi il telefono", join: "Iscriviti", leave: "Lascia",
    choose: "Scegli", sendLocation: "Invia posizione", shareContact: "Condividi contatto", failed: "non consegnato",
    read: "letto", edited: "modificato", inChannel: "canale", inGroup: "gruppo", lost: "Collegamento perso, riprovo…",
    tooBig: "Il file è troppo grande: al massimo 15 MB.", opened: "Si aprirebbe:", document: "Documento", contacts: "Contatto",
    sticker: "Adesivo", poll: "Sondaggio", order: "Ordine", unsupported: "Messaggio non mostrato",
    windowOpen: "la finestra di 24 ore è aperta", windowClosed: "la finestra di 24 ore è chiusa", keyboard: "Tastiera del bot",
    youBlocked: "Hai bloccato questa conversazione.", done: "Fatto.",
  },
  en: {
    title: "Trial phone", intro: "Write as a customer would. No message leaves this computer.",
    other: "Italiano", otherCode: "it", writeTo: "Write to", youAre: "You are", newPerson: "New person", more: "More",
    attach: "Attach", message: "Message", send: "Send", name: "Name", phone: "Phone",
    phoneHint: "Empty: an invented number.", cancel: "Cancel", create: "Create", close: "Close",
    nobody: "There is nobody to write to yet. A bot or a number appears here as soon as it is connected.",
    empty: "No messages. Write something to begin.", emptyChannel: "The channel has no posts yet.",
    bots: "Telegram bots", numbers: "WhatsApp numbers", channels: "Telegram channels and groups", start: "Start",
    typing: "is typing…", photo: "Sample photo", file: "A file", location: "Location", contact: "My contact",
    block: "Block", unblock: "Unblock", stopMarketing: "No more offers", resumeMarketing: "Offers again",
    phoneOff: "Switch the phone off", phoneOn: "Switch the phone on", join: "Join", leave: "Leave",
    choose: "Choose", sendLocation: "Send location", shareContact: "Share contact", failed: "not delivered",
    read: "read", edited: "edited", inChannel: "channel", inGroup: "group", lost: "Connection lost, trying again…",
    tooBig: "The file is too large: at most 15 MB.", opened: "This would open:", document: "Document", contacts: "Contact",
    sticker: "Sticker", poll: "Poll", order: "Order", unsupported: "Message not shown",
    windowOpen: "the 24-hour window is open", windowClosed: "the 24-hour window is closed", keyboard: "The bot's keyboard",
    youBlocked: "You have blocked this conversation.", done: "Done.",
  },
};

let language = localStorage.getItem("language") === "en" ? "en" : "it";

export const say = (key) => WORDS[language][key] ?? key;

export function setLanguage(code) {
  language = code in WORDS ? code : "it";
  localStorage.setItem("language", language);
  translatePage();
}

export function translatePage() {
  document.documentElement.lang = language;
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
  const other = document.getElementById("language");
  other.textContent = say("other");
  other.lang = say("otherCode");
}
