"""The console under `/console`: server-rendered pages for the team, one file each in `pages/`, one folder of templates
each in `templates/`. Every page works by links and forms; one small script refreshes what changes.
"""
