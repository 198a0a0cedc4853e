"""Values that tests put where secrets and personal data go, and that must never come out in a log or an
error.

Use them in fixtures wherever a token, a phone number or a text is needed. After the suite everything that was
logged, printed or written to a crash output is searched for them (`tests/support/canaries.py`); a single hit
fails the run. All are invented: the phone number is of the range reserved for fiction.
"""

from __future__ import annotations

CANARY_TOKEN = "110201543:TEST-canary-AAHdqTcvCH1vGWJxfSeofSAs0K5"
CANARY_SECRET = "TEST-canary-app-secret-5f1d7a90c3e24b86"
CANARY_PHONE = "+12025550199"
CANARY_EMAIL = "canary.nightingale@example.com"
CANARY_TEXT = "the canary sings at twenty past seven"

CANARIES = (CANARY_TOKEN, CANARY_SECRET, CANARY_PHONE, CANARY_EMAIL, CANARY_TEXT)
