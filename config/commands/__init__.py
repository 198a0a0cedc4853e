"""The commands, one file a subject: each has `add_to(app)`. They read command lines, files and the environment, have
operations done (`config/operations/`), and say what came of it."""
