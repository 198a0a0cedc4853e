"""Flow engine, pure: reads a flow document, advances a session by one event and says what should happen.

Time, randomness and HTTP answers are arguments, so the same input always gives the same transition.
"""
