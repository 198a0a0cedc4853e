"""The flow engine: documents, their compiled versions, and `advance`, which turns an event into effects.

Pure: no I/O, no clock, no randomness of its own; time and seed are arguments. Reading order: `document` (text →
checked document), `compiler` (document → immutable version), `engine` (version + state + event → transition),
`steps/` and `answers/` (one file each; `numerals` and `calendar_words` read what people write), `triggers`,
`inspection`, `rehearsal` with `player` and `dialogues`.
"""
