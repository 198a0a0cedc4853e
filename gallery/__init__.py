"""The flows that are shipped, one folder each, with their tests, in Italian and English."""
