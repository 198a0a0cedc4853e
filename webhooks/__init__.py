"""Ingress over HTTP: platforms deliver here; an answer of 200 means that the events are committed."""
