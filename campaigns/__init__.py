"""Broadcasts: audiences, runs and their recipients, posts on outlets, tracking and reports."""
