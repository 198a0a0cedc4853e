"""The example of the documentation, word for word where it matters: it loads, has no fault and its test passes."""

from __future__ import annotations

from flows import compiler, dialogues, document, inspection

FLOW = """
flow: lead                       # exactly one key of a step names its type; its value is the main argument
title: {it: Richiesta di contatto, en: Contact request}
languages: [it, en]
triggers: [{keyword: [ciao, info, hello]}, {deep_link: promo-*}, first_message]
start: welcome
steps:
  welcome:
    send:
      it: "Ciao {{ contact.first_name | default('a te') }}!"
      en: "Hi {{ contact.first_name | default('there') }}!"
    next: email
  email:
    ask: email
    text: {it: Qual è la tua e-mail?, en: What is your e-mail?}
    save: contact.email
    invalid: {it: Questa e-mail non mi torna., en: That does not look like an e-mail.}
    tries: 3
    timeout: {after: 2 days, goto: remind}
    next: interest
  interest:
    choose: {it: Che cosa ti interessa?, en: What are you interested in?}
    options:
      - {id: price, text: {it: Prezzi, en: Prices}}
      - {id: visit, text: {it: Una visita, en: A visit}, goto: visit}
    save: session.interest
    next: consent
  consent:
    consent: marketing           # wording of the purpose comes from the business file, its version goes into the ledger
    double_opt_in: true
    exits: {yes: thanks, no: goodbye}
  remind: {send: {it: Ci sei?, en: Are you there?}, next: email}
  visit: {hand_over: sales}
  thanks: {send: {it: Grazie!, en: Thank you!}, next: end}
  goodbye: {end: refused, text: {it: A presto!, en: See you!}}
canvas: {welcome: [0, 0], email: [240, 0]}
"""

TEST = """
flow: lead                       # lead.test.yaml
with: {channel: telegram, language: it}
dialogue:
  - user: ciao
  - bot: Ciao a te!
  - bot: ~e-mail                 # ~ contains
  - user: anna@@example
  - bot: ~non mi torna
  - user: anna@example.com
  - tap: price
  - expect: {contact.email: anna@example.com, session.interest: price}
  - after: 2 days
"""


def test_the_example_works() -> None:
    """Loads, compiles, is sound, and its dialogue passes."""
    flow = compiler.compile(document.load(FLOW, "lead.yaml"), 1)
    assert inspection.check(flow, {}) == []
    [result] = dialogues.run(TEST, "lead.test.yaml", [flow])
    assert result.passed, result
